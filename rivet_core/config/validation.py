"""Validation by pydantic models, the plugins' and ours, told in the words of the configuration's author."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from rivet_core.api import DestinationSpec, FormatSpec, PluginError, RivetError, SourceSpec
from rivet_core.config.document import Document
from rivet_core.config.problems import FieldPath, ProblemCollector, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from rivet_core.plugins import Registry

M = TypeVar("M", bound=BaseModel)
#: Pydantic's error types in our words; its other messages are clear as they are.
_MESSAGES: Final = {
    "missing": "is required",
    "model_type": "must be a mapping of fields",
    "dict_type": "must be a mapping of fields",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} item",
}


def load_model(registry: Registry, spec: DestinationSpec | FormatSpec | SourceSpec) -> type[BaseModel]:
    """Return the model of a plugin's section, made to refuse unknown fields.

    Raises:
        PluginError: the import string leads to no pydantic model.
    """
    model = registry.load(spec, "config")
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise PluginError(f"{spec.config!r} is no pydantic model", hint="install the plugin again, or report it")
    if model.model_config.get("extra") == "forbid":
        return model

    class Strict(model):  # type: ignore[valid-type, misc]  # the base is known at run time only
        model_config = ConfigDict(extra="forbid")

    Strict.__name__, Strict.__qualname__, Strict.__doc__ = model.__name__, model.__qualname__, model.__doc__
    return Strict


class Validator:
    """Validates parts of one document and records what is wrong at the line where it stands."""

    def __init__(self, document: Document, problems: ProblemCollector) -> None:
        self._document = document
        self._problems = problems

    def complain(self, path: FieldPath, message: str, hint: str = "") -> None:
        """Record a problem of the value at ``path``, unless its content is unknown anyway."""
        if not self._document.is_unresolved(path):
            self._problems.add(message, position=self._document.position(path), path=path, hint=hint)

    def complain_of(self, path: FieldPath, error: RivetError) -> None:
        """Record an error of the value at ``path``."""
        self.complain(path, error.message, error.hint)

    def validate(
        self,
        model: type[M],
        fields: Mapping[str, object],
        locate: Callable[[FieldPath], FieldPath],
        also_known: Collection[str] = (),
    ) -> M | None:
        """Return ``fields`` as an instance of ``model``, or ``None`` after recording every problem.

        Args:
            locate: gives the path in the document of a location in ``fields``.
            also_known: fields that may stand beside these, for suggestions.
        """
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            found = [
                (locate(details["loc"]), *_explain(details, model, also_known))
                for details in error.errors(include_url=False)
            ]
        except RivetError as error:
            found = [(locate(()), error.message, error.hint)]
        except Exception as error:  # noqa: BLE001  a plugin's validator may raise anything
            message = f"the plugin failed while it checked this section: {type(error).__name__}"
            found = [(locate(()), message, f"this is an error in {model.__module__}; report it to the plugin's author")]
        for path, message, hint in found:
            # A check of the whole section says nothing while one of its values is unknown.
            if not self._document.holds_unresolved(path):
                self.complain(path, message, hint)
        return None


def _explain(details: ErrorDetails, model: type[BaseModel], also_known: Collection[str]) -> tuple[str, str]:
    """Return message and hint; the value itself is never repeated, it may be a secret."""
    context = details.get("ctx", {})
    hint = str(context.get("hint", ""))
    kind = details["type"]
    if kind in _MESSAGES:
        return _MESSAGES[kind].format_map(context), hint
    if kind == "extra_forbidden":
        return _explain_unknown(details["loc"], model, also_known)
    if kind == "value_error":
        return str(context["error"]), hint
    if kind == "string_type":
        return _explain_not_text(details["input"])
    return details["msg"].replace("Input should be", "must be"), hint


def _explain_not_text(value: object) -> tuple[str, str]:
    if isinstance(value, dict):
        return "must be text, not a mapping", "put a text that starts with { in quotes"
    kind = (
        "nothing"
        if value is None
        else "a list"
        if isinstance(value, list)
        else f"a value of type {type(value).__name__}"
    )
    return f"must be text, and YAML reads {kind} here", "put it in quotes"


def _explain_unknown(loc: FieldPath, model: type[BaseModel], also_known: Collection[str]) -> tuple[str, str]:
    candidates = [model]
    for part in loc[:-1]:
        nested = [
            inner
            for candidate in candidates
            if (found := candidate.model_fields.get(str(part))) is not None
            for inner in _models_in(found.annotation)
        ]
        candidates = nested or candidates
    name = str(loc[-1])
    known = {field.alias or name for candidate in candidates for name, field in candidate.model_fields.items()}
    if len(loc) == 1:
        known.update(also_known)
    hint = did_you_mean(name, known) or (f"fields: {', '.join(sorted(known))}" if known else "it takes no fields")
    return "unknown field", hint


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
