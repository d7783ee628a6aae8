// The picture of one space, as it grows.

const figure = document.getElementById("picture");
const HEIGHT = 280;
/** There is no room for axes in less. */
const NARROWEST = 160;
/** At least so many seconds are shown: a young picture is no wall. */
const SHORTEST = 60;

/** Which space is shown; `isPinned`: by choice. */
const chosen = { key: undefined, isPinned: false };
let drawn;

/** Shows this space from now on. */
function choose(key, isPinned) {
  chosen.isPinned = isPinned;
  if (chosen.key === key) return;
  chosen.key = key;
  drawPicture(true);
}

/** Without a choice: the fullest, and the one that is shown as long as it is full. */
function chooseFullest(spaces) {
  if (chosen.isPinned && known.has(chosen.key)) return;
  const shown = spaces.find((space) => keyOf(space) === chosen.key);
  const isFull = (space) => space.headroom === 0;
  const [fullest] = spaces;
  const stays = shown && (isFull(shown) || (fullest && !isFull(fullest) && shown.used > 0));
  if (fullest && !stays) choose(keyOf(fullest), false);
}


/** Draws the space that is shown; a new one from the beginning. */
function drawPicture(isNew) {
  const of = known.get(chosen.key);
  figure.hidden = of === undefined;
  if (of === undefined) return;
  figure.querySelector("h3").textContent = of.space.name;
  figure.querySelector("figcaption p").textContent =
    `${of.space.protocol}, network namespace ${namespaceName(of.space.netns)}; ` +
    `${number(of.space.used)} of ${number(of.space.capacity)} ports used`;
  const names = layerNames(of, isNew || !drawn ? [] : drawn.names);
  const timeline = timelineOf(of, names);
  const series = seriesOf(timeline);
  const isSame =
    !isNew && drawn && names.join() === drawn.names.join() && series.length === drawn.series.length;
  if (isSame) {
    Object.assign(drawn.timeline, timeline);
    drawn.series.forEach((one, at) => Object.assign(one, series[at]));
    drawn.update();
    return;
  }
  drawn?.end();
  drawn = buildLive(timeline, series, names);
}

function buildLive(timeline, series, names) {
  const place = element("div", { className: "plot", tabIndex: 0, role: "application" });
  place.setAttribute("aria-label", "Used ports over time; the arrows move along, the numbers stand beside it");
  const hidden = new Set();
  const isShown = (at) => !hidden.has(at);
  let plot;
  let rows;
  let layers;

  const legend = buildLegend(timeline, series, (at) => {
    if (!hidden.delete(at)) hidden.add(at);
    draw();
  });
  const data = () => {
    const last = timeAt(timeline, timeline.bucket.length - 1) + timeline.step_seconds;
    const first = Math.min(timeAt(timeline, 0), last - SHORTEST);
    rows = rowsOf(timeline, { first, last });
    layers = layersOf(series, isShown);
    const capacity = rows.map(({ at }) => (at === undefined ? null : timeline.capacity[at]));
    return [rows.map(({ time }) => time), ...stacked(layers, rows), capacity];
  };
  const tell = () => {
    const idx = plot?.cursor.idx;
    const at = idx == null ? undefined : rows[idx]?.at;
    if (at === undefined) legend.show(timeline.bucket.length - 1, "Latest: ");
    else legend.show(at, "");
  };
  const draw = () => {
    plot?.destroy();
    const columns = data();
    const size = { width: Math.max(place.clientWidth, NARROWEST), height: HEIGHT };
    const options = optionsOf({ timeline, series, layers, size });
    // The last time of the axis is not cut.
    options.padding = [null, 32, null, null];
    options.cursor.drag = { x: false, y: false };
    options.hooks.setCursor = [tell];
    plot = new uPlot(options, columns, place);
    legend.paint(isShown);
    tell();
  };
  const step = (by) => {
    const last = rows.findLastIndex(({ at }) => at !== undefined);
    const at = Math.min(Math.max((plot.cursor.idx ?? last) + by, 0), rows.length - 1);
    plot.setCursor({ left: plot.valToPos(rows[at].time, "x"), top: 0 });
  };
  place.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(by);
  });
  const body = element("div", { className: "body" }, place, legend.table);
  figure.append(body);
  draw();
  const resized = new ResizeObserver(() => {
    if (place.clientWidth >= NARROWEST) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  });
  resized.observe(place);
  return {
    timeline,
    series,
    names,
    draw,
    update() {
      plot.setData(data());
      tell();
    },
    end() {
      resized.disconnect();
      plot.destroy();
      body.remove();
    },
  };
}

// The colours are those of the theme.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn?.draw());

