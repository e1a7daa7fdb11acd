"""A simulator of the vendor's service, with faults on demand.

`SimulatorOptions` sets campaigns, tokens, quota, latency and failures. Every random choice depends only on the seed,
the campaign and the number of the call, so that it does not change with concurrency.
"""

from bulkstop.simulator.auth import App
from bulkstop.simulator.calls import Operation
from bulkstop.simulator.campaigns import SimulatedCampaign
from bulkstop.simulator.options import SimulatorOptions
from bulkstop.simulator.server import Event, Simulator, serve
from bulkstop.simulator.service import Exchange

__all__ = ["App", "Event", "Exchange", "Operation", "SimulatedCampaign", "Simulator", "SimulatorOptions", "serve"]
