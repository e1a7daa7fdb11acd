"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // "Share" would send the figures to the library's makers.
  const config = { responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"] };

  function themed(chart) {
    const ink = colour("--ink"), line = colour("--line"), card = colour("--card");
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
    const layout = {
      font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 70, r: 170, t: 36, b: 50 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--faint"), activecolor: ink },
      hovermode: "x unified", hoverlabel: { bgcolor: card, font: { color: ink } }, showlegend: true, ...chart.layout,
    };
    layout.xaxis = { ...axis, ...layout.xaxis };
    layout.yaxis = { ...axis, ...layout.yaxis };
    for (const shape of layout.shapes ?? []) { shape.line.color = ink; shape.label.font = { color: ink, size: 11 }; }
    for (const trace of chart.data) if (trace.meta === "ink") trace.line.color = ink;
    return layout;
  }

  function drawn(id) {
    const place = document.getElementById(id);
    return Plotly.newPlot(place, charts[id].data, themed(charts[id]), config).then(() => place);
  }

  // What is zoomed into in one chart over time is shown in the other as well.
  function together(places) {
    let busy = false;
    for (const place of places) place.on("plotly_relayout", (change) => {
      const from = change["xaxis.range[0]"], all = change["xaxis.autorange"];
      if (busy || (from === undefined && !all)) return;
      busy = true;
      const to = all ? { "xaxis.autorange": true } : { "xaxis.range": [from, change["xaxis.range[1]"]] };
      Promise.all(places.filter((each) => each !== place).map((each) => Plotly.relayout(each, to)))
        .finally(() => { busy = false; });
    });
  }

  function switchable(button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const isLog = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isLog));
      button.textContent = isLog ? "linear scale" : "log scale";
      const chart = charts[button.dataset.of];
      chart.layout.yaxis = { ...chart.layout.yaxis, type: isLog ? "log" : "linear", dtick: isLog ? "D2" : null };
      Plotly.relayout(button.dataset.of, { "yaxis.type": isLog ? "log" : "linear", "yaxis.dtick": isLog ? "D2" : null,
        "yaxis.rangemode": "tozero", "yaxis.autorange": true });
    });
  }

  Promise.all(Object.keys(charts).map(drawn)).then((places) => {
    together(places.filter((place) => place.dataset.over === "time"));
    document.querySelectorAll("button[data-of]").forEach(switchable);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const place of places) Plotly.react(place, charts[place.id].data, themed(charts[place.id]), config);
    });
    document.documentElement.dataset.drawn = String(places.length);
  });
})();
