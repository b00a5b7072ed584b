"""Reads CATALOG.yml. Nothing of a file with a mistake is used."""

import re
from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from gpu_token_contracts.bounds import MAX_PRICE_PER_HOUR_USD
from gpu_token_contracts.yaml_keys import key_twice

from gpu_token_processor.ledger import catalog_rules
from gpu_token_processor.ledger.catalog import (
    DEFAULT_THRESHOLDS,
    Budget,
    Catalog,
    Deployment,
    Dimension,
    Energy,
    Gpu,
    GpuRef,
    Lease,
    Market,
    Price,
    Role,
    Scope,
    Selector,
    Weights,
)
from gpu_token_processor.ledger.catalog_fields import MAX_GPUS, CatalogError, Entry, is_text, shown

T = TypeVar("T")

_DATES = ("valid_from", "valid_to")
_PRICE_KINDS = ("uuid", "host", "instance_type", "gpu_name")
_LEASE_KINDS = ("uuid", "host")
_OWNED = (
    "capex_usd",
    "residual_usd",
    "life_years",
    "power_w",
    "usd_per_kwh",
    "pue",
    "other_usd_per_year",
)
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_HOURS_PER_YEAR = 8_760
_W_PER_KW = 1_000


def load_catalog(path: Path | str) -> Catalog:
    """The catalogue of a file. Raises CatalogError with one sentence, which names the file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CatalogError(
            f"{path} cannot be read ({error.strerror}): give the path of a CATALOG.yml."
        ) from None
    return read_catalog_text(content, str(path))


def read_catalog_text(content: bytes, name: str) -> Catalog:
    """The catalogue of YAML that comes from a file or pipe of this name."""
    try:
        return parse_catalog(_yaml(content))
    except CatalogError as error:
        raise CatalogError(f"{name}: {error}") from None


def parse_catalog(data: Any) -> Catalog:
    """The catalogue of what YAML or JSON has read. Raises CatalogError with one sentence."""
    if data is None:
        raise CatalogError("the catalogue is empty: give a mapping of sections, {} for none.")
    if not isinstance(data, dict):
        raise CatalogError(f"the catalogue is {shown(data)}: give a mapping of sections, {{}} for none.")
    for name in data:
        if name not in _SECTIONS:
            raise CatalogError(f"{shown(name)} is no section: use {', '.join(_SECTIONS)}.")
    aliases = _aliases(data.get("aliases"))
    gpus = _listed(data, "gpus", _gpu)
    catalog = Catalog(
        deployments=_listed(data, "deployments", _deployment),
        prices=_listed(data, "prices", lambda entry: _price(entry, aliases)),
        leases=_listed(data, "leases", lambda entry: _lease(entry, gpus)),
        gpus=gpus,
        weights=_listed(data, "weights", _weights),
        energy=_listed(data, "energy", _energy),
        budgets=_listed(data, "budgets", _budget),
        aliases=aliases,
    )
    catalog_rules.check(catalog)
    return catalog


def gpu_name(name: str, aliases: Mapping[str, str]) -> str:
    """The name that prices use: without a leading "NVIDIA ", and what it is another name of."""
    bare = name
    while bare.startswith("NVIDIA "):
        bare = bare.removeprefix("NVIDIA ")
    return aliases.get(bare, bare)


class _Loader(yaml.CSafeLoader):
    """YAML with the numbers of its version 1.2 (1e3 is one, 1:30 and 010 are texts), and no key twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except CatalogError:
            raise
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            # What PyYAML raises for "2026-13-01" or "!!bool x".
            kind = node.tag.rpartition(":")[2]
            raise CatalogError(
                f"line {node.start_mark.line + 1}: {shown(node.value)} is no {kind}: mend it, "
                "or put it in quotes if it is a text."
            ) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if twice := key_twice(self, node):
            raise CatalogError(f"line {twice.line}: the key {shown(twice.key)} stands twice: keep one.")
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag not in (_INT, _FLOAT)]
    for first, forms in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"""[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$
        |[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$""",
        flags=re.VERBOSE,
    ),
    list("-+.0123456789"),
)


def _yaml(content: bytes) -> Any:
    try:
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        reason = error.problem or error.context
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, CatalogError):
            raise
        place, reason = "", " ".join(str(error).split())
    except RecursionError:
        place, reason = "", "it is nested too deeply"
    raise CatalogError(f"{place}this is no YAML ({reason}): mend it.")


def _listed(data: dict[str, Any], section: str, read: Callable[[Entry], T]) -> tuple[T, ...]:
    """The rows of a section; of some sections a single row may stand without a list."""
    fields, single = _SECTIONS[section]
    entries = data.get(section)
    if entries is None:
        return ()
    if single and isinstance(entries, dict):
        return (read(Entry(section, entries, fields)),)
    if not isinstance(entries, list):
        raise CatalogError(f"{section} is {shown(entries)}: give a list of mappings.")
    return tuple(
        read(Entry(f"{section}, row {number}", entry, fields)) for number, entry in enumerate(entries, 1)
    )


def _deployment(entry: Entry) -> Deployment:
    deployment = entry.required_text("id")
    entry.where += f" ({deployment})"
    gpus = tuple(_gpu_ref(entry, item) for item in entry.items("gpus"))
    entry.refuse_twice("gpus", gpus)
    return Deployment(
        id=deployment,
        models=entry.texts("models"),
        endpoints=entry.texts("endpoints"),
        gpus=gpus,
        role=entry.choice("role", get_args(Role), "serve"),
        **entry.dates(),
    )


def _gpu_ref(entry: Entry, item: Any) -> GpuRef:
    if isinstance(item, str):
        item = {"uuid": item}
    gpu = Entry(f"{entry.where}, gpus", item, ("uuid", "host", "gpu_index"))
    ref = GpuRef(gpu.text("uuid"), gpu.text("host"), gpu.gpu_index())
    by_place = ref.host is not None and ref.gpu_index is not None
    if (ref.uuid is None) != by_place or (ref.uuid is not None and (gpu.has("host") or gpu.has("gpu_index"))):
        raise gpu.refused(f"{shown(item)} names no GPU", "give its uuid, or its host and gpu_index, not both")
    return ref


def _selector(entry: Entry, kinds: tuple[str, ...]) -> Selector:
    return Selector(*_selected(entry, kinds))


def _selected(entry: Entry, kinds: tuple[str, ...]) -> tuple[Any, str]:
    remedy = f"give a mapping with one of {', '.join(kinds)}"
    data = entry.raw("selector")
    if not isinstance(data, dict) or len(data) != 1:
        raise entry.refused(f"selector is {shown(data)}" if data else "selector is missing", remedy)
    selector = Entry(f"{entry.where}, selector", data, kinds)
    kind: Any = next(iter(data))
    return kind, selector.required_text(kind)


def _price(entry: Entry, aliases: Mapping[str, str]) -> Price:
    selector = _selector(entry, _PRICE_KINDS)
    if selector.kind == "gpu_name":
        selector = selector._replace(value=gpu_name(selector.value, aliases))
    entry.where += f" ({selector.kind} {selector.value})"
    entry.choice("currency", ("USD",), "USD")
    owned = entry.has("owned")
    if owned == entry.has("usd_per_hour"):
        which = "both usd_per_hour and owned" if owned else "neither usd_per_hour nor owned"
        raise entry.refused(f"it has {which}", "give one of them")
    market: Market = entry.choice("market", get_args(Market), "owned" if owned else "on_demand")
    if owned and market != "owned":
        raise entry.refused(f"market is {market!r} beside owned", "leave market out")
    name = "owned" if owned else "usd_per_hour"
    usd_per_hour = _owned_usd_per_hour(entry) if owned else entry.number(name)
    usd_per_gpu_hour = usd_per_hour / _divisor(entry)
    if usd_per_gpu_hour > MAX_PRICE_PER_HOUR_USD:
        # A float ends before this number may.
        usd = Decimal(usd_per_gpu_hour.numerator) / usd_per_gpu_hour.denominator
        raise entry.refused(
            f"{name} makes {usd:.6g} USD for an hour of one GPU",
            f"give at most {MAX_PRICE_PER_HOUR_USD}",
        )
    return Price(
        selector=selector,
        usd_per_gpu_hour=usd_per_gpu_hour,
        market=market,
        zone=entry.text("zone"),
        source=entry.text("source"),
        **entry.dates(),
    )


def _divisor(entry: Entry) -> int:
    """How many GPUs the price is for."""
    gpus = entry.gpus("gpus")
    if entry.choice("per", ("gpu", "instance"), "gpu") == "gpu":
        if gpus is not None:
            raise entry.refused(f"gpus is {gpus} beside per: gpu", "leave gpus out, or give per: instance")
        return 1
    if gpus is None:
        raise entry.refused(
            "gpus is missing beside per: instance", f"give a whole number from 1 to {MAX_GPUS}"
        )
    return gpus


def _owned_usd_per_hour(entry: Entry) -> Fraction:
    """What an hour of one's own machine costs: its loss of value, its energy, and the rest."""
    owned = Entry(f"{entry.where}, owned", entry.raw("owned"), _OWNED)
    capex_usd, residual_usd = owned.number("capex_usd"), owned.number("residual_usd", 0)
    if residual_usd > capex_usd:
        raise owned.refused(
            f"residual_usd is {shown(owned.raw('residual_usd'))}, above capex_usd", "give at most capex_usd"
        )
    usd_per_year = (capex_usd - residual_usd) / owned.positive("life_years")
    usd_per_year += owned.number("other_usd_per_year", 0)
    power_kw = owned.number("power_w") * owned.number("pue", 1, least=1) / _W_PER_KW
    return usd_per_year / _HOURS_PER_YEAR + power_kw * owned.number("usd_per_kwh")


def _lease(entry: Entry, gpus: tuple[Gpu, ...]) -> Lease:
    selector = _selector(entry, _LEASE_KINDS)
    entry.where += f" ({selector.kind} {selector.value})"
    dates = entry.dates("from", "to")
    count = entry.gpus("gpus")
    if selector.kind == "uuid":
        if count not in (None, 1):
            raise entry.refused(f"gpus is {count} of one uuid", "leave gpus out")
        count = 1
    elif count is None:
        # A card of which slices are listed is one GPU.
        count = len(
            {
                gpu.card or gpu.uuid or (gpu.host, gpu.gpu_index)
                for gpu in gpus
                if gpu.host == selector.value and gpu.overlaps(dates["valid_from_us"], dates["valid_to_us"])
            }
        )
        if not count:
            raise entry.refused("gpus is missing, and the section gpus has none of this host", "give gpus")
    return Lease(
        selector=selector,
        gpus=count,
        instance_type=entry.text("instance_type"),
        zone=entry.text("zone"),
        market=entry.choice("market", get_args(Market), "on_demand"),
        **dates,
    )


def _gpu(entry: Entry) -> Gpu:
    gpu = Gpu(
        uuid=entry.text("uuid"),
        host=entry.text("host"),
        gpu_index=entry.gpu_index(),
        name=entry.text("name"),
        card=entry.text("card"),
        share=entry.share("share"),
        **entry.dates(),
    )
    if gpu.uuid is None and (gpu.host is None or gpu.gpu_index is None):
        raise entry.refused("it names no GPU", "give its uuid, or its host and gpu_index")
    if gpu.card is not None:
        if gpu.card == gpu.uuid:
            raise entry.refused(f"card is {shown(gpu.card)}, its own uuid", "give the uuid of the card")
        if not entry.has("share"):
            raise entry.refused("share is missing beside card", "give its part of the card, such as 1/3")
    return gpu


def _weights(entry: Entry) -> Weights:
    return Weights(
        uncached_prompt=entry.number("uncached_prompt", 1),
        cached_prompt=entry.number("cached_prompt", 1),
        completion=entry.number("completion", 1),
        **entry.dates(),
    )


def _energy(entry: Entry) -> Energy:
    return Energy(usd_per_kwh=entry.number("usd_per_kwh"), **entry.dates())


def _budget(entry: Entry) -> Budget:
    name = entry.required_text("name")
    entry.where += f" ({name})"
    return Budget(
        name=name,
        selector=Scope(*_selected(entry, get_args(Dimension))) if entry.has("selector") else None,
        usd_per_month=entry.positive("usd_per_month"),
        thresholds=tuple(sorted(entry.thresholds("thresholds", DEFAULT_THRESHOLDS))),
        **entry.dates(),
    )


def _aliases(data: Any) -> dict[str, str]:
    """Each other name with the name at the end of its chain, both without a leading "NVIDIA "."""
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(map(is_text, data)):
        raise CatalogError(f"aliases is {shown(data)}: give a mapping from another name to the name.")
    entry = Entry("aliases", data, data)
    names: dict[str, str] = {}
    for other in data:
        name = entry.required_text(other)
        bare, target = gpu_name(other, {}), gpu_name(name, {})
        if names.get(bare, target) != target:
            raise entry.refused(f"{shown(other)} is both {names[bare]} and {target}", "keep one")
        # "NVIDIA A100: A100" says what is true anyhow.
        if bare != target or other == name:
            names[bare] = target
    return {other: _end_of_chain(entry, names, other) for other in names}


def _end_of_chain(entry: Entry, names: Mapping[str, str], other: str) -> str:
    chain = [other]
    while chain[-1] in names:
        chain.append(names[chain[-1]])
        if chain[-1] in chain[:-1]:
            raise entry.refused(f"{' -> '.join(chain)} is a cycle", "let the last one stand for itself")
    return chain[-1]


_SECTIONS: dict[str, tuple[tuple[str, ...], bool]] = {
    "deployments": (("id", "models", "endpoints", "gpus", "role", *_DATES), False),
    "prices": (
        (
            "selector",
            "usd_per_hour",
            "owned",
            "per",
            "gpus",
            "market",
            "zone",
            "currency",
            "source",
            *_DATES,
        ),
        False,
    ),
    "leases": (("selector", "from", "to", "gpus", "instance_type", "zone", "market"), False),
    "gpus": (("uuid", "host", "gpu_index", "name", "card", "share", *_DATES), False),
    "weights": (("uncached_prompt", "cached_prompt", "completion", *_DATES), True),
    "energy": (("usd_per_kwh", *_DATES), True),
    "budgets": (("name", "selector", "usd_per_month", "thresholds", *_DATES), False),
    "aliases": ((), False),
}
