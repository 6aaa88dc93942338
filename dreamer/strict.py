"""The base of what is read from files."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable; unknown keys, values of another type, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
