"""The configuration that ships, its schema, and what is made of it."""

import pickle
from pathlib import Path
from typing import Any

import dask
import yaml

import dask_coded.cluster
from dask_coded.cluster import CodedSchedulerPlugin, Settings

FOLDER = Path(dask_coded.cluster.__file__).parent.parent


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def leaves(tree: Any) -> set[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return {()}
    return {(name, *rest) for name, below in tree.items() for rest in leaves(below)}


def described(schema: Any) -> set[tuple[str, ...]]:
    if "properties" not in schema:
        assert schema["description"]
        return {()}
    return {
        (name, *rest) for name, below in schema["properties"].items() for rest in described(below)
    }


def test_every_setting_is_described_and_every_description_set() -> None:
    assert leaves(load("coded.yaml")) == described(load("coded-schema.yaml"))


def test_defaults_are_what_the_file_says() -> None:
    assert Settings.from_config() == Settings()


def test_plugin_takes_the_configuration_of_the_client_along() -> None:
    with dask.config.set({"coded.suspicion.factor": 7, "coded.evict-after": "1 minute"}):
        plugin = CodedSchedulerPlugin()
    settings = pickle.loads(pickle.dumps(plugin)).settings
    assert settings.suspicion.factor == 7
    assert settings.patience.evict_after == 60
