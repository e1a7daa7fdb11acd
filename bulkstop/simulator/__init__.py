"""The vendor's service, imitated, with faults on demand.

Campaigns, tokens, quota, latency and failures are as asked for in `SimulatorOptions`; every choice made by chance
depends on the seed, the campaign and the number of the call alone, so it does not move with concurrency.
"""

from bulkstop.simulator.auth import App
from bulkstop.simulator.calls import Operation
from bulkstop.simulator.campaigns import SimulatedCampaign
from bulkstop.simulator.options import SimulatorOptions
from bulkstop.simulator.server import Event, Simulator, serve
from bulkstop.simulator.service import Exchange

__all__ = ["App", "Event", "Exchange", "Operation", "SimulatedCampaign", "Simulator", "SimulatorOptions", "serve"]
