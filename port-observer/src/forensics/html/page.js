// Each picture on its place in the page.

const HEIGHT = 300;
const span = spanOf(report.timelines);
const pictures = report.timelines.map((timeline, number) =>
  buildPicture(timeline, document.getElementById(`picture-${number}`)),
);

function buildPicture(timeline, figure) {
  const series = seriesOf(timeline);
  const rows = rowsOf(timeline, span);
  const hidden = new Set();
  const isShown = (number) => !hidden.has(number);
  const title = figure.querySelector("h3").textContent;
  const place = element("div", { className: "plot", tabIndex: 0, role: "application" });
  place.setAttribute("aria-label", `${title}: used ports over time; the numbers are in the table below`);
  place.setAttribute("aria-describedby", "help");
  const fullest = timeline.used.indexOf(Math.max(...timeline.used));
  let plot;

  const range = element("output", { className: "range" });
  const tellRange = ({ scales: { x } }) => {
    if (x.min == null) return;
    const step = timeline.step_seconds;
    range.textContent = `${timeText(x.min, step)} to ${timeText(x.max, step)}`;
  };
  const legend = buildLegend(timeline, series, (number) => {
    if (!hidden.delete(number)) hidden.add(number);
    draw();
  });
  const move = ({ cursor: { idx } }) => {
    const at = idx == null ? undefined : rows[idx].at;
    if (at === undefined) legend.show(fullest, "At its fullest: ");
    else legend.show(at, "");
  };
  const draw = () => {
    const shown = plot && { min: plot.scales.x.min, max: plot.scales.x.max };
    plot?.destroy();
    const layers = layersOf(series, isShown);
    const capacity = rows.map(({ at }) => (at === undefined ? null : timeline.capacity[at]));
    const data = [rows.map(({ time }) => time), ...stacked(layers, rows), capacity];
    const size = { width: place.clientWidth, height: HEIGHT };
    const options = optionsOf({ timeline, series, layers, size });
    options.hooks.setCursor = [move];
    options.hooks.setScale = [tellRange];
    plot = new uPlot(options, data, place);
    if (shown) plot.setScale("x", shown);
    legend.paint(isShown);
  };
  const zoom = (factor) => {
    if (factor === undefined) return plot.setScale("x", { min: rows[0].time, max: rows.at(-1).time });
    const { min, max } = plot.scales.x;
    const { idx } = plot.cursor;
    const middle = idx == null ? (min + max) / 2 : rows[idx].time;
    const half = ((max - min) / 2) * factor;
    return plot.setScale("x", {
      min: Math.max(rows[0].time, middle - half),
      max: Math.min(rows.at(-1).time, middle + half),
    });
  };
  const step = (by) => {
    const at = Math.min(Math.max((plot.cursor.idx ?? fullest) + by, 0), rows.length - 1);
    plot.setCursor({ left: plot.valToPos(rows[at].time, "x"), top: 0 });
  };
  place.addEventListener("keydown", (event) => {
    const action = {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      "+": () => zoom(0.5),
      "-": () => zoom(2),
      0: () => zoom(),
    }[event.key];
    if (action === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });

  const tool = (text, name, action) => {
    const button = element("button", { type: "button", textContent: text, onclick: action });
    button.setAttribute("aria-label", `${name}: ${title}`);
    return button;
  };
  const tools = element(
    "div",
    { className: "tools" },
    range,
    tool("+", "Zoom in", () => zoom(0.5)),
    tool("−", "Zoom out", () => zoom(2)),
    tool("All", "Show all", () => zoom()),
  );
  const values = element("div", { className: "values", tabIndex: 0 });
  const details = element("details", {}, element("summary", { textContent: "Table" }), values);
  // Thousands of numbers, made when somebody wants them.
  details.addEventListener("toggle", () => {
    if (details.open && values.firstChild === null) values.append(buildTable(timeline, series));
  });
  figure.append(
    element("div", { className: "body" }, element("div", {}, tools, place), legend.table),
    details,
  );
  draw();
  legend.show(fullest, "At its fullest: ");
  new ResizeObserver(() => {
    if (place.clientWidth > 0) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }).observe(place);
  return { draw };
}

// The colours are those of the theme, or of paper.
const redraw = () => pictures.forEach(({ draw }) => draw());
for (const media of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(media).addEventListener("change", redraw);
}
