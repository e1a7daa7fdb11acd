"""The page of a load test: in text, and as a real browser shows it, without a network and without scripts."""

import html
import json
import math
import re
from asyncio import to_thread
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkstop.engine.load.arrivals import constant
from bulkstop.errors import BulkstopError
from bulkstop.model import Outcome
from bulkstop.redact import Redactor
from bulkstop.report.load.charts import COLOURS, draw_latencies, draw_outcomes, draw_percentiles, read_library
from bulkstop.report.load.error_counts import ErrorCounts
from bulkstop.report.load.intervals import Intervals
from bulkstop.report.load.metrics import Metrics
from bulkstop.report.load.page import render_page
from bulkstop.report.load.summary import LoadPlan, LoadSummary
from bulkstop.report.load.thresholds import parse_threshold
from bulkstop.report.load.timeline import Point, Timeline
from tests.browser import CHROMIUM, Tab, browser, opened

NASTY = "</script></title><script>alert(1);planted=1</script><img src=http://planted.test/x onerror=alert(2)>'\"&\u202e"
SECRET = "a-secret-of-mine"
LENGTH_S, RATE = 12, 40
FREEZE_S = (4.0, 6.0)
DRAWN = """new Promise(done => {
    const root = document.documentElement, look = () => root.dataset.drawn && done(root.dataset.drawn);
    new MutationObserver(look).observe(root, {attributes: true});
    look();
})"""

Case = tuple[LoadSummary, list[Point]]


def case(*required: str, is_open: bool = True, **about: Any) -> Case:
    """Return a run of 12 s that rises at 40/s, with a pause from 4 to 6 s and some refusals later."""
    metrics, timeline = Metrics(), Timeline()
    intervals = Intervals(timeline.add)
    for number in range(LENGTH_S * RATE):
        due_s = number / RATE
        left_s = max(due_s, FREEZE_S[1]) if FREEZE_S[0] <= due_s < FREEZE_S[1] else due_s
        ended_s = left_s + 0.002 + number / 1e6
        outcome = Outcome.THROTTLED if number > 400 and number % 4 == 0 else Outcome.STOPPED
        latency_s, service_s = ended_s - due_s, ended_s - left_s
        if not is_open:
            latency_s = service_s
        metrics.add(outcome, latency_s=latency_s, service_s=service_s, late_s=0.0001, held_s=0, answered=True)
        metrics.elapsed_s = max(metrics.elapsed_s, ended_s)
        intervals.add(metrics.elapsed_s, outcome, latency_s, service_s)
    intervals.close(metrics.elapsed_s)
    require = tuple(map(parse_threshold, required or ("p99<1s", "errors<50%")))
    plan = LoadPlan(
        host="http://127.0.0.1:8080",
        shape="40/s, for 12 s",
        targets="made up",
        planned=LENGTH_S * RATE,
        max_in_flight=100,
        require=require,
        is_open=is_open,
        intended=tuple(constant(RATE, LENGTH_S).course) if is_open else (),
    )
    verdicts = tuple(each.judge(metrics) for each in require)
    return replace(LoadSummary(plan, metrics, verdicts, "4e3f", 1_790_000_000.0, 100), **about), timeline.points()


STUB = "var Plotly = {newPlot: place => Promise.resolve(Object.assign(place, {on() {}}))}"


def text(summary: LoadSummary, points: list[Point]) -> str:
    """Write a page that draws nothing, for what it says."""
    return render_page(summary, points, STUB)


def nasty(summary: LoadSummary) -> LoadSummary:
    """Have hostile words wherever others have a say."""
    metrics = copy(summary.metrics)
    metrics.reasons = ErrorCounts()
    metrics.reasons.add(Outcome.TIMEOUT, NASTY)
    plan = replace(summary.plan, host=NASTY, shape=NASTY, targets=NASTY)
    verdicts = (summary.verdicts[0]._replace(text=NASTY),)
    return replace(summary, plan=plan, metrics=metrics, verdicts=verdicts, run_id=NASTY, fault=BulkstopError(NASTY))


def words_of(written: str) -> str:
    """Return what a page says: no tags, and nothing escaped."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", written, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", body))


def charts_of(written: str) -> dict[str, Any]:
    """Read what the charts of a page are drawn from."""
    return dict(json.loads(written.split('id="charts">')[1].split("</script>")[0]))


class TestCharts:
    """The charts show the measurements, in the form that the library needs."""

    @pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
    def test_the_library_takes_them(self, *, is_open: bool) -> None:
        """Each name and value of every chart is one that the library knows."""
        from plotly import graph_objects  # here, because it takes a second

        summary, points = case(is_open=is_open)
        metrics = summary.metrics
        for chart in (
            draw_latencies(points, [("p99", 1.0)], is_open=is_open),
            draw_percentiles(metrics.latency, metrics.service, [("p99", 1.0)], is_open=is_open),
            draw_outcomes(points, summary.plan.intended),
        ):
            graph_objects.Figure(chart)  # raises for what is not

    def test_over_time(self) -> None:
        """Each second has its figures; where nothing was answered there is a gap, and what waited is in the next."""
        summary, points = case()
        chart = draw_latencies(points, is_open=True)
        lines = {(trace.get("legend"), trace["name"]): trace for trace in chart["data"]}
        assert len(lines) == 8
        longest = lines["legend", "max"]
        seconds = [0.5, 1.5, 2.5, 3.5, 5.0, *(number + 0.5 for number in range(6, 11))]
        assert longest["x"] == [*seconds, pytest.approx(11.49, abs=0.01)]
        assert longest["y"][4] is None
        assert longest["y"][5] == pytest.approx(summary.metrics.latency.max_s * 1e3)
        assert lines["legend2", "max"]["y"][5] < 10
        assert lines["legend2", "max"]["visible"] == "legendonly"

    def test_percentiles(self) -> None:
        """The curve goes through the reported percentiles, and ends with the longest."""
        metrics = case()[0].metrics
        chart = draw_percentiles(metrics.latency, metrics.service, is_open=True)
        for trace, times in zip(chart["data"], (metrics.latency, metrics.service), strict=True):
            at = dict(zip(trace["text"], trace["y"], strict=True))
            assert at["90 %"] == pytest.approx(times.at(90)[0] * 1e3)
            assert at["99 %"] == pytest.approx(times.at(99)[0] * 1e3)
            assert (trace["text"][-1], trace["y"][-1]) == ("100 %", pytest.approx(times.max_s * 1e3))
            assert trace["y"] == sorted(trace["y"])
        assert chart["layout"]["xaxis"]["ticktext"] == ["0 %", "50 %", "90 %", "99 %"]
        assert chart["layout"]["xaxis"]["tickvals"] == [1, 2, 10, 100]

    def test_bands(self) -> None:
        """The areas come to the numbers of requests; of each second, and of each outcome."""
        summary, points = case()
        chart = draw_outcomes(points, summary.plan.intended)
        areas = {
            trace["name"]: sum(rate * width for rate, width in zip(trace["y"], trace["width"], strict=True))
            for trace in chart["data"]
            if trace["type"] == "bar"
        }
        assert areas == pytest.approx({each.value: n for each, n in summary.metrics.outcomes.items()}, abs=0.01)
        assert chart["data"][-1]["x"] == [0.0, LENGTH_S]
        assert chart["data"][-1]["y"] == [RATE, RATE]

    def test_every_outcome_has_a_colour(self) -> None:
        """Every possible outcome of a request has a colour; other outcomes belong to rows that are not sent."""
        never = {Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED, Outcome.NOT_SENT}
        assert set(COLOURS) == set(Outcome) - never
        assert len(set(COLOURS.values())) == len(COLOURS)


class TestText:
    """The text of a page."""

    def test_figures(self) -> None:
        """Figures, verdicts, outcomes and every second are also text, for readers without charts; silence has a row."""
        summary, points = case("errors<1%", "p99<9s")
        written = text(summary, points)
        words = words_of(written)
        for each in ("480", "errors<1%: FAILED (3.95833%)", "p99<9s: held", "stopped", "throttled", "run id", "4e3f"):
            assert each in words
        assert "Load test of http://127.0.0.1:8080 40/s, for 12 s: 480 requests" in " ".join(words.split())
        assert "schedule: kept (0% left more than 10ms late; allowed: 1%)" in words
        assert "2026-09-21T14:13:20.000Z to 2026-09-21T14:13:31.977Z" in words
        assert f"{summary.metrics.latency.max_s * 1e3:,.1f}" in words
        assert len(re.findall(r"<tr><td>\d+</td><td>2026-09-21T", written)) == len(points) == 11
        assert 'role="alert"' not in written

    def test_closed(self) -> None:
        """A closed model has service times alone, and no intended rate."""
        summary, points = case(is_open=False)
        written = text(summary, points)
        charts = charts_of(written)
        assert (len(charts["over-time"]["data"]), len(charts["curve"]["data"])) == (4, 1)
        assert {trace["type"] for trace in charts["bands"]["data"]} == {"bar"}
        assert "latency" not in words_of(written).lower()

    def test_alarms(self) -> None:
        """Facts that invalidate the figures come first, prominently; so does a partial run."""
        summary, points = case(signum=2)
        summary.metrics.late = summary.metrics.requests
        written = text(summary, points)
        top = words_of(written[written.index('role="alert"') : written.index('class="tiles"')])
        assert top.count("THE SCHEDULE WAS NOT KEPT: 100% of the requests left more than 10 ms late") == 1
        assert top.count("ENDED EARLY: by SIGINT, after all were sent; the figures are of what was sent until") == 1
        assert "schedule: kept" not in top

    def test_hostile_words(self) -> None:
        """All values are text: they neither open nor end an element, nor change the writing direction."""
        summary, points = case()
        written = text(nasty(summary), points)
        assert [len(re.findall(f"<{tag}[ >]", written)) for tag in ("script", "img", "title")] == [3, 0, 1]
        assert "\u202e" not in written
        shown = NASTY.replace("\u202e", "\N{REPLACEMENT CHARACTER}")
        assert words_of(written).count(shown) == 12

    def test_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Secrets are masked in every text."""
        monkeypatch.setattr("bulkstop.report.load.page.REDACTOR", Redactor(SECRET))
        summary, points = case()
        summary.metrics.reasons.add(Outcome.TIMEOUT, f"no {SECRET}")
        plan = replace(summary.plan, targets=f"made up: <{SECRET}", host=f"http://{SECRET}")
        written = text(replace(summary, plan=plan, fault=BulkstopError(SECRET)), points)
        assert SECRET not in written
        assert "made up: <[masked]" in words_of(written)

    def test_nothing_measured(self) -> None:
        """A run in which nothing was answered has its page."""
        words = words_of(text(LoadSummary(LoadPlan(host="h", max_in_flight=1), Metrics(), (), "4e3f", math.nan, 1), []))
        assert "No request was answered." in words
        assert "nothing was sent" in words

    def test_lines_that_must_not_be_crossed(self) -> None:
        """A required time is drawn; not one so far above all that was measured that it would press that together."""
        charts = charts_of(text(*case("p99<1s", "max<60m")))
        for name in ("over-time", "curve"):
            shapes = charts[name]["layout"]["shapes"]
            assert [(shape["label"]["text"], shape["y0"]) for shape in shapes] == [("p99 required", 1000.0)]

    def test_nothing_answered(self) -> None:
        """Requests that were all cut off are counted, with their times so far and the reason."""
        metrics, timeline = Metrics(), Timeline()
        intervals = Intervals(timeline.add)
        metrics.add(Outcome.UNKNOWN, latency_s=9, service_s=9, late_s=0, held_s=0, answered=False, error="cut")
        metrics.elapsed_s = 9.0
        intervals.add(9.0, Outcome.UNKNOWN, 9.0, 9.0)
        intervals.close(9.0)
        written = text(replace(case()[0], metrics=metrics), timeline.points())
        words = " ".join(words_of(written).split())
        assert "1 unknown" in words
        assert "no request was answered: the only request ended as unknown (cut)" in words
        assert "Why requests failed outcome error requests unknown cut 1" in words
        assert "NaN" not in written
        # Nothing was measured in the time before.
        assert charts_of(written)["over-time"]["data"][0]["y"] == [None, 9000.0]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a browser for all tests here."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed here; nothing else can stand for a reader's browser")
    with browser(tmp_path_factory.mktemp("reader") / "browser") as found:
        yield found


def written(folder: Path, found: Case) -> Path:
    """Write a page that draws."""
    path = folder / "page.html"
    path.write_text(render_page(*found, read_library()))
    return path


def unable_to_draw(folder: Path) -> Path:
    """Write a page that draws nothing; a browser takes a second or two to draw."""
    path = folder / "page.html"
    path.write_text(text(*case(signum=2)))
    return path


async def number_of(tab: Tab, selector: str) -> int:
    """Count elements of the page."""
    return int(await tab.value(f"document.querySelectorAll({json.dumps(selector)}).length"))


@pytest.mark.full
class TestInBrowser:
    """A real browser, with no network, draws the charts of one file and runs nothing else."""

    @pytest.mark.real
    async def test_drawn(self, chromium: str, tmp_path: Path) -> None:
        """Every line and band is drawn, only the file was requested, and no planted script ran."""
        summary, points = await to_thread(case)  # as below: to make a page holds a loop for a quarter of a second
        async with opened(chromium, await to_thread(written, tmp_path, (nasty(summary), points))) as tab:
            assert await tab.value(DRAWN) == "3"
            assert await number_of(tab, "#over-time .scatterlayer .trace") == 4
            assert await number_of(tab, "#over-time .legend2 .traces") == 4
            assert await number_of(tab, "#curve .scatterlayer .trace") == 2
            assert await number_of(tab, "#bands .bars") == 2
            assert await number_of(tab, "#bands .bars .point path") == 2 * 10
            assert await number_of(tab, "#bands .scatterlayer .trace") == 1
            assert await number_of(tab, ".shapelayer path") == 2
            assert not await tab.value("/share|edit|cloud/i.test(document.querySelector('.modebar').innerHTML)")
            assert await tab.value("typeof planted") == "undefined"
            assert "<script>alert(1)" in str(await tab.value("document.querySelector('h1').textContent"))
            assert [url for url in tab.requests if not url.startswith("data:")] == [(tmp_path / "page.html").as_uri()]
            assert (tab.complaints, tab.dialogs) == ([], [])

    @pytest.mark.real
    async def test_used(self, chromium: str, tmp_path: Path) -> None:
        """The scale can be switched, the service times shown, both charts over time zoom together; none needs eyes."""
        async with opened(chromium, await to_thread(lambda: written(tmp_path, case()))) as tab:
            await tab.value(DRAWN)
            await tab.value("document.querySelector('button[data-of=over-time]').click()")
            assert await tab.value("document.getElementById('over-time').layout.yaxis.type") == "linear"
            assert await tab.value("document.querySelector('button[data-of=over-time]').ariaPressed") == "false"
            await tab.value(
                "new Promise(done => { document.getElementById('bands').on('plotly_relayout', () => done());"
                "Plotly.relayout('over-time', {'xaxis.range[0]': 2, 'xaxis.range[1]': 5}); })"
            )
            assert await tab.value("document.getElementById('bands').layout.xaxis.range") == [2, 5]
            await tab.value("Plotly.restyle('over-time', {visible: true}).then(() => 1)")
            assert await number_of(tab, "#over-time .scatterlayer .trace") == 8
            tree = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
            named = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") in ("image", "img")]
            assert [name.split(".")[0] for name in named if name.startswith("Chart")] == [
                "Chart: Latency over time",
                "Chart: Latency by percentile",
                "Chart: Requests a second, by outcome",
            ]
            assert tab.complaints == []

    @pytest.mark.real
    async def test_policy(self, chromium: str, tmp_path: Path) -> None:
        """Should something get into the page after all, its policy lets it neither run nor call anybody."""
        found = await to_thread(lambda: text(*case()))
        assert found.count("<main>") == 1
        path = tmp_path / "page.html"
        path.write_text(
            found.replace("<main>", "<main><script>alert(1);planted=1</script><b onclick='planted=1'>b</b>")
        )
        async with opened(chromium, path) as tab:
            assert await tab.value(DRAWN) == "3"
            await tab.value("document.querySelector('main > b').click()")
            assert await tab.value("typeof planted") == "undefined"
            assert await tab.value("fetch('https://planted.test/').then(() => 'left', () => 'kept')") == "kept"
            assert await tab.value("fetch('data:,x').then(() => 'left', () => 'kept')") == "kept"
            assert (
                await tab.value(
                    "new Promise(done => { const i = new Image(); i.onload = i.onerror = event => done(event.type);"
                    "i.src = 'http://127.0.0.1:1/x.png'; })"
                )
                == "error"
            )
            assert (len(tab.complaints) >= 4, tab.dialogs) == (True, [])
            assert all("Content Security Policy" in each for each in tab.complaints), tab.complaints

    @pytest.mark.real
    async def test_without_scripts(self, chromium: str, tmp_path: Path) -> None:
        """Without scripts the figures are shown, and a note says what is missing."""
        async with opened(chromium, await to_thread(unable_to_draw, tmp_path), scripts=False) as tab:
            assert "The charts need JavaScript" in str(await tab.value("document.body.innerText"))
            assert await number_of(tab, "details table tbody tr") == len(case()[1])
            assert await number_of(tab, "svg") == 0

    @pytest.mark.real
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    async def test_contrast(self, chromium: str, tmp_path: Path, scheme: str) -> None:
        """Text has enough contrast, in light and dark mode."""
        async with opened(chromium, await to_thread(unable_to_draw, tmp_path)) as tab:
            await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            for name in ("body", ".under", ".held", ".tiles dt", ".alarm"):
                colours = await tab.value(
                    f"[getComputedStyle(document.querySelector('{name}')).color,"
                    "getComputedStyle(document.querySelector('.tiles div')).backgroundColor]"
                )
                assert contrast(*colours) >= 4.5, (name, colours)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as the Web Content Accessibility Guidelines count it."""
    lights = []
    for colour in (one, other):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.03928 else math.pow((part + 0.055) / 1.055, 2.4) for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
