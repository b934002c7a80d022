"""What sessions of all runtimes share."""

import importlib
from typing import Any, Dict, List, Mapping, Optional, Tuple, TypeVar

import numpy as np

S = TypeVar("S", bound="RuntimeSession")


class RuntimeSession(object):
    """An artifact that is loaded. `raw` is the runtime's object, `facts` is what the runtime says of itself (texts).

    `signature`: "inputs" and "outputs", each a list of {name, dtype, shape}; a dynamic dimension is None.
    For timing, `bind(feeds)` puts inputs in place; then `step()` is one inference on them.
    """

    signature: Dict[str, List[Dict[str, Any]]]
    facts: Dict[str, str]
    raw: Any
    step: Any = None  # a callable once inputs are bound

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the runtime's objects."""
        self.step = None
        self.raw = None

    def run(self, feeds: Mapping[str, Any]) -> Dict[str, Any]:
        """Input name -> array; gives output name -> array. Raises ValueError on other names."""
        raise NotImplementedError

    def bind(self, feeds: Mapping[str, Any]) -> None:
        """Put inputs in place: from here on `step()` is one inference on them."""
        raise NotImplementedError

    def layer_rows(self, feeds: Mapping[str, Any], runs: int) -> List[Dict[str, Any]]:
        """Mean time of each layer over `runs` runs, of a session whose profiler is on: see `layers`.

        Raises ValueError where the runtime does not tell.
        """
        raise ValueError("this runtime does not tell the times of its layers")

    def part_ms(self, path: str, feeds: Mapping[str, Any], runs: int, threads: int) -> float:
        """Mean time of a network that is one layer of this one, where layers cannot be told apart.

        Raises ValueError where the runtime has no such networks.
        """
        raise ValueError("this runtime has no networks of one layer each")


def tensor_spec(name: str, dtype: str, shape: List[Any]) -> Dict[str, Any]:
    """One tensor of a signature; what is no whole number is a dynamic dimension."""
    dims = [dim if isinstance(dim, int) and dim >= 0 else None for dim in shape]
    return {"name": name, "dtype": dtype, "shape": dims}


def in_order(signature: Dict[str, Any], feeds: Mapping[str, Any]) -> List[Any]:
    """Feeds as contiguous arrays of the network's types, in its order. Raises ValueError on other names."""
    names = [spec["name"] for spec in signature["inputs"]]
    if set(names) != set(feeds):
        raise ValueError("feeds are named %s, the network takes %s" % (sorted(feeds), names))
    return [np.ascontiguousarray(feeds[spec["name"]], dtype=spec["dtype"]) for spec in signature["inputs"]]


def import_first(names: Tuple[str, ...]) -> Any:
    """The first of these modules whose package is there. Raises the first one's ImportError when none is."""
    missing: Optional[ImportError] = None
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as problem:
            if problem.name != name.split(".")[0]:  # it is there, but broken: that is what has to be told
                raise
            missing = missing or problem
    assert missing is not None
    raise missing


def sample_row(output: Any) -> Any:
    """An output of one sample without the batch's axis."""
    return output[0] if output.ndim and len(output) == 1 else output


def random_feeds(signature: Dict[str, Any], seed: int) -> Dict[str, Any]:
    """Uniform [0, 1) floats, or 0 and 1 for integers, of the signature's shapes; dynamic dimensions are 1."""
    rng = np.random.RandomState(seed)
    feeds = {}
    for spec in signature["inputs"]:
        shape = [dim or 1 for dim in spec["shape"]]
        dtype = np.dtype(spec["dtype"])
        values = rng.rand(*shape) if dtype.kind == "f" else rng.randint(0, 2, shape)
        feeds[spec["name"]] = values.astype(dtype)
    return feeds
