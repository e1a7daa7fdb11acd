"""The command line stores calls in the user's state folder; Python writes no unrequested file."""

import os
from pathlib import Path

import pytest

from bulkstop import Campaign, CampaignType, Limit, Settings, stop_async
from bulkstop.cli.files import check_results, use_store
from bulkstop.errors import SettingsError
from bulkstop.settings import NO_LIMIT
from bulkstop.simulator.options import SimulatorOptions
from bulkstop.simulator.server import Simulator


def test_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default store is used where calls are counted and no other is named, and is not overwritten."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    usual = str(tmp_path / "bulkstop/quota.sqlite")
    settings = Settings(host="h")
    assert use_store(settings).quota_store == usual
    for other in (Settings(host="h", quota_store="memory"), Settings(host="h", quota=NO_LIMIT)):
        assert use_store(other) is other
    with pytest.raises(SettingsError, match="is the file that quota_store names"):
        check_results(usual, [], settings)


@pytest.mark.real
async def test_python_writes_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run from Python without file names writes no file, in the home or working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    async with Simulator(SimulatorOptions()) as service:
        settings = Settings(host=service.url, token="t", quota=[Limit(50, 1.0)])
        campaigns = [Campaign(each, CampaignType.VOICE, "a", "s") for each in ("cd-1", "cd-2")]
        summary = await stop_async(campaigns, settings)
    assert (summary.calls, os.listdir(tmp_path)) == (2, [])  # noqa: PTH208 - in an async test
