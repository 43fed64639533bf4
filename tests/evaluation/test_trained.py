import json

import pytest

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.evaluation.trained import require_trained_settings


def test_a_run_without_a_checkpoint_is_said_to_have_none_before_data_are_read(tmp_path):
    RunFolder(tmp_path).record.write_text(json.dumps({"status": "running"}))
    with pytest.raises(InputError, match=r"no last\.pt; the training is interrupted; .*--resume true"):
        require_trained_settings(tmp_path)
