"""The narrow door to Box2D: plain functions on plain handles.

The Python classes of the `Box2D` package spend far more time in attribute look-ups and temporary vectors than
the engine spends on physics. The functions here are the package's own low-level ones; they take the handle of
a body (`body.this`) and so skip the wrappers. Box2D hands out references to the vectors inside a body, so a
handle of a position or velocity stays valid, and up to date, as long as its body lives.
"""

from typing import Any

from Box2D import _Box2D as _engine
from Box2D import b2World

from competitor.errors import EngineError

Handle = Any
"""A pointer object of the engine's bindings; Box2D has no type information."""

step_world = _engine.b2World_Step
create_body = _engine.b2World___CreateBody
destroy_body = _engine.b2World_DestroyBody
create_fixture = _engine.b2Body___CreateFixture

vector_x = _engine.b2Vec2_x_get
vector_y = _engine.b2Vec2_y_get
set_vector_x = _engine.b2Vec2_x_set
set_vector_y = _engine.b2Vec2_y_set

angle_of = _engine.b2Body___GetAngle
spin_of = _engine.b2Body___GetAngularVelocity
mass_of = _engine.b2Body___GetMass
apply_force = _engine.b2Body_ApplyForceToCenter
apply_torque = _engine.b2Body_ApplyTorque
set_linear_damping = _engine.b2Body___SetLinearDamping
set_angular_damping = _engine.b2Body___SetAngularDamping
set_transform = _engine.b2Body___SetTransform
set_velocity = _engine.b2Body___SetLinearVelocity
set_spin = _engine.b2Body___SetAngularVelocity
set_awake = _engine.b2Body___SetAwake

fixture_a = _engine.b2Contact___GetFixtureA
fixture_b = _engine.b2Contact___GetFixtureB
fixture_body = _engine.b2Fixture___GetBody


def position_of(body: Handle) -> Handle:
    """A live handle of the body's position."""
    return _engine.b2Body___GetPosition(body).this


def velocity_of(body: Handle) -> Handle:
    """A live handle of the body's velocity."""
    return _engine.b2Body___GetLinearVelocity(body).this


def _check_live_handles() -> None:
    """Make sure that vectors are references: everything read later depends on it."""
    world = b2World(gravity=(0, 0))
    body = world.CreateDynamicBody(linearVelocity=(2.0, 4.0)).this
    position, velocity = position_of(body), velocity_of(body)
    step_world(world.this, 0.25, 1, 1)
    set_velocity(body, (3.0, 0.0))
    seen = vector_x(position), vector_y(position), vector_x(velocity), vector_y(velocity)
    if seen != (0.5, 1.0, 3.0, 0.0):
        raise EngineError("this build of the Box2D package copies vectors; install box2d 2.3.10 from PyPI")


_check_live_handles()
