// A plot on its place in the page.

/**
 * Builds it into a figure: what `paint` tells uPlot to draw, buttons and keys to zoom and move along, beside
 * it `aside`, and below it the table that `table` makes once somebody wants it. `times` are those of all
 * points, `start` the number of the one that the arrows start from, `label` says what is drawn, `rangeText`
 * how a stretch of time is written, and `show` is called with the number of the point that is looked at.
 */
function buildPlot({ figure, label, height, times, start, aside, rangeText, show, paint, table }) {
  const title = figure.querySelector("h3").textContent;
  const place = element("div", { className: "plot", tabIndex: 0, role: "application" });
  place.setAttribute("aria-label", `${title}: ${label}; the numbers are in the table below`);
  place.setAttribute("aria-describedby", "help");
  let plot;

  const range = element("output", { className: "range" });
  const tellRange = ({ scales: { x } }) => {
    if (x.min != null) range.textContent = rangeText(x.min, x.max);
  };
  const draw = () => {
    const shown = plot && { min: plot.scales.x.min, max: plot.scales.x.max };
    plot?.destroy();
    const { options, data } = paint({ width: place.clientWidth, height });
    options.hooks.setCursor = [({ cursor: { idx } }) => show(idx)];
    options.hooks.setScale = [tellRange];
    plot = new uPlot(options, data, place);
    if (shown) plot.setScale("x", shown);
  };
  const [first, last] = [times[0], times.at(-1)];
  const zoom = (factor) => {
    if (factor === undefined) return plot.setScale("x", { min: first, max: last });
    const { min, max } = plot.scales.x;
    const { idx } = plot.cursor;
    const middle = idx == null ? (min + max) / 2 : times[idx];
    const half = ((max - min) / 2) * factor;
    return plot.setScale("x", { min: Math.max(first, middle - half), max: Math.min(last, middle + half) });
  };
  const step = (by) => {
    const at = Math.min(Math.max((plot.cursor.idx ?? start) + by, 0), times.length - 1);
    plot.setCursor({ left: plot.valToPos(times[at], "x"), top: 0 });
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
    if (details.open && values.firstChild === null) values.append(table());
  });
  figure.append(element("div", { className: "body" }, element("div", {}, tools, place), aside), details);
  draw();
  show(null);
  new ResizeObserver(() => {
    if (place.clientWidth > 0) plot.setSize({ width: place.clientWidth, height });
  }).observe(place);
  return { draw };
}

/** Draws plots again where the theme changes, or they are put on paper. */
function followTheme(plots) {
  for (const media of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(media).addEventListener("change", () => plots.forEach(({ draw }) => draw()));
  }
}
