// The pictures of a run over time.

const HEIGHT = 220;
/** A column of samples: how it is called, drawn and written. */
function columnOf(samples, key, name, text) {
  return { values: samples[key], name, text };
}

const { connects, searches } = report;
const percentiles = (samples) => [
  columnOf(samples, "p50_seconds", "p50", durationText),
  columnOf(samples, "p99_seconds", "p99", durationText),
];
const PICTURES = {
  connections: {
    samples: connects,
    columns: [
      columnOf(connects, "connections", "Connections", countText),
      columnOf(connects, "refused", "Refused", countText),
    ],
    drawn: 1,
    level: limit.connections,
  },
  rate: {
    samples: connects,
    columns: [columnOf(connects, "rate_per_second", "Connections a second", countText)],
    drawn: 1,
  },
  "connect-time": { samples: connects, columns: percentiles(connects), drawn: 2, isTime: true },
  "search-time": { samples: searches, columns: percentiles(searches), drawn: 2, isTime: true },
};

/** When the limit was met, and how many connections there were at most. */
function drawLimit(plot, level) {
  const { ctx: context, bbox } = plot;
  const ratio = devicePixelRatio;
  context.save();
  context.beginPath();
  context.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  context.clip();
  const line = (name, dash, from, to) => {
    context.strokeStyle = color(name);
    context.lineWidth = 2 * ratio;
    context.setLineDash(dash.map((length) => length * ratio));
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
  };
  const [right, bottom] = [bbox.left + bbox.width, bbox.top + bbox.height];
  if (level !== undefined) {
    const y = plot.valToPos(level, "y", true);
    line("capacity", [8, 5], [bbox.left, y], [right, y]);
  }
  if (report.limit_seconds !== null) {
    const x = Math.min(plot.valToPos(report.limit_seconds, "x", true), right - ratio);
    line("refused", [], [x, bbox.top], [x, bottom]);
    context.fillStyle = color("refused");
    context.strokeStyle = color("ground");
    context.lineWidth = 4 * ratio;
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "bottom";
    const isLeft = x > bbox.left + bbox.width / 2;
    context.textAlign = isLeft ? "right" : "left";
    const label = [limit.limit.replaceAll("_", " "), x + (isLeft ? -6 : 6) * ratio, bottom - 4 * ratio];
    context.strokeText(...label);
    context.fillText(...label);
  }
  context.restore();
}

/** What uPlot is told to draw. */
function optionsOf({ samples, columns, drawn, level, isTime }, size, colorOf) {
  const isStepped = level === undefined;
  const line = isStepped ? { paths: uPlot.paths.stepped({ align: 1, alignGaps: 1 }), points: { show: false } } : {};
  const { seconds, refused } = samples;
  const stretches = refused.flatMap((count, at) =>
    isStepped || count === 0 || at === 0 ? [] : [[seconds[at - 1], seconds[at]]],
  );
  const text = isTime ? durationText : (count) => count.toLocaleString("en");
  const linear = { range: (_, low, high) => [0, Math.max(1, high, level ?? 0) * 1.08] };
  return {
    ...size,
    padding: [null, 16, null, null],
    scales: {
      x: { time: false, range: (_, low, high) => (low === high ? [low, low + 1] : [low, high]) },
      y: isTime ? { distr: 3 } : linear,
    },
    series: [
      {},
      ...columns.slice(0, drawn).map((_, number) => ({ ...line, stroke: colorOf(number), width: 2 })),
    ],
    axes: [
      { ...axisStyle(), space: 80, values: (_, ticks) => ticks.map((tick) => `${tick} s`) },
      { ...axisStyle(), size: 64, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : text(tick))) },
    ],
    cursor: {
      sync: { key: "run", scales: ["x", null] },
      drag: { x: true, y: false, setScale: true },
      points: { show: !isStepped },
      y: false,
    },
    legend: { show: false },
    hooks: {
      draw: [
        (plot) => {
          drawRefused(plot, stretches);
          drawLimit(plot, level);
        },
      ],
    },
  };
}

function buildPicture(figure, picture) {
  const { samples, columns, drawn } = picture;
  const { seconds } = samples;
  const readings = buildReadings(columns);
  const title = figure.querySelector("h3").textContent;
  const last = seconds.length - 1;
  const colorOf = (number) => (number < drawn ? color("series").split(" ")[number] : color("refused"));
  // All pictures are of the same time.
  const times = seconds[last] < END ? [...seconds, END] : seconds;
  return buildPlot({
    figure,
    label: "over time",
    height: HEIGHT,
    times,
    start: last,
    aside: readings.table,
    rangeText: (from, to) => `${secondsText(from)} to ${secondsText(to)}`,
    show(idx) {
      if (idx == null || idx > last) readings.show(last, `At the end: ${secondsText(seconds[last])}`);
      else readings.show(idx, `At ${secondsText(seconds[idx])}`);
    },
    paint(size) {
      readings.paint(colorOf);
      // What is of the time since the sample before is drawn from there.
      const shift = picture.level === undefined ? 1 : 0;
      const lines = columns
        .slice(0, drawn)
        .map(({ values }) => times.map((_, at) => (at > last ? null : values[Math.min(at + shift, last)])));
      return { options: optionsOf(picture, size, colorOf), data: [times, ...lines] };
    },
    table: () => buildValues(`${title}: all samples`, seconds, columns),
  });
}

followTheme(
  Object.entries(PICTURES)
    .map(([id, picture]) => [document.getElementById(id), picture])
    .filter(([figure]) => figure !== null)
    .map(([figure, picture]) => buildPicture(figure, picture)),
);
