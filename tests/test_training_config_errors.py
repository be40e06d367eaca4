"""Sentences about a wrong fit.toml: words of TOML, not of the library that reads it, and every place where a key belongs."""

import pytest
from test_training_config import changed

from soapgap.config import read_config
from soapgap.errors import InputError

KINDS = '"soap", "distance_2b", "angle_3b" or "distance_3b"'


@pytest.mark.parametrize(("path", "value", "expected"), [
    (("terms", 0), "soap", "terms[0]: got 'soap', expected a table"),
    (("terms", 0, "kind"), 3, f"terms[0].kind: got 3, expected {KINDS}"),
    (("terms", 0, "kind"), "soapy", f"terms[0].kind: got 'soapy', expected {KINDS}; did you mean 'soap'?"),
    (("output",), "", "output: got '', expected a text that is not empty"),
    (("output",), 3, "output: got 3, expected a text in quotes"),
    (("exact",), "true", "exact: got 'true', expected true or false"),
    (("seed",), 2.0, "seed: got 2.0, expected an integer"),
    (("train",), "a.xyz", "train: unknown key; it belongs to [data]"),
    (("delta",), 1.0, f"delta: unknown key; it belongs to [[terms]] of kind {KINDS}"),
    (("kind",), "soap", f"kind: unknown key; it belongs to [baseline] or [[terms]] of kind {KINDS}"),
    (("config_type_sigma", "my type"), [1.0], 'config_type_sigma."my type": expected three numbers'),
    (("data", "train"), [{"file": "a.xyz", "wieght": 2.0}], "data.train[0].wieght: unknown key; did you mean 'weight'?"),
])
def test_sentences(path, value, expected):
    with pytest.raises(InputError) as caught:
        read_config(changed(path, value))
    assert str(caught.value).startswith(f"config: {expected}")
