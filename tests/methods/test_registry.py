import inspect
from pathlib import Path

import pytest

from medssl import methods
from medssl.common.errors import InputError
from medssl.methods import Method, Supervised, TCSeg

from .two_decoders import TwoDecoders

OWN = """
import torch
from medssl.methods import Method

class Half(Method):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def training_step(self, batch, step):
        return {"loss": self.network.deployed(batch.labeled_images).mean() / 2}

NOT_A_METHOD = torch.nn.Module
"""


def test_methods_have_the_names_of_their_files():
    assert methods.get("supervised") is Supervised
    assert methods.get("tcseg") is TCSeg
    for name in methods.names():
        assert issubclass(methods.get(name), Method)
        assert Path(inspect.getfile(methods.get(name))).stem == name


def test_a_new_method_is_one_new_file(tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text(OWN)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    methods._methods.cache_clear()
    try:
        assert "half" in methods.names()
        assert methods.create("half", TwoDecoders()).network is not None
    finally:
        methods._methods.cache_clear()


def test_a_method_of_ones_own_goes_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    method = methods.create("elsewhere.Half", TwoDecoders(), {})
    assert type(method).__name__ == "Half"
    with pytest.raises(InputError, match=r"elsewhere\.Half has no options"):
        methods.create("elsewhere.Half", TwoDecoders(), {"tau": 0.1})
    for name, fault in (
        ("elsewhere.Hlaf", "no attribute 'Hlaf'"),
        ("nowhere.Half", "No module named 'nowhere'"),
        ("elsewhere.NOT_A_METHOD", "is no medssl.methods.Method"),
    ):
        with pytest.raises(InputError, match=fault) as refused:
            methods.get(name)
        assert "\n" not in str(refused.value)


def test_misspelt_names_and_options_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'tcseg'"):
        methods.get("tcsegg")
    with pytest.raises(InputError, match="did you mean 'selector'"):
        methods.create("tcseg", TwoDecoders(), {"selectro": None})
    with pytest.raises(
        InputError, match=r"option of supervised 'tau': no such name; choose one of criterion"
    ):
        methods.create("supervised", TwoDecoders(), {"tau": 0.1})
