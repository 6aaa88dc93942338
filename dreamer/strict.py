"""The base of what is read from files."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """Immutable; unknown keys, values of another type, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def first_problem(error: ValidationError) -> str:
    """Where and what the first mistake is, without the value that was given: ``section.key: what is wrong``."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg'].removeprefix('Value error, ')}"
