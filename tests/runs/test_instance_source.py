"""What makes instances: the files that a source needs are asked for before anything is opened."""

import re

import pytest

from helpers.cam_entries import clip_of, manifest_of
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.runs.instance_source import GivenToInstances, instance_source
from weclick.store import Store


@pytest.mark.parametrize(
    ("network", "found"),
    [({}, "null"), ({"path": "gone.safetensors"}, "'gone.safetensors', and there is no")],
)
def test_a_detector_that_nobody_names_is_told(tmp_path, network, found):
    config = complete_config({"instances": {"source": "network", "network": network}})
    told = f"instances.source is 'network', but instances.network.path is {found}"
    with pytest.raises(InputError, match=re.escape(told)):
        instance_source(config, manifest_of(clip_of()), GivenToInstances(), store=Store([tmp_path]))
