
// The picture itself, drawn by uPlot.

/** A colour of the theme that is in force. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function colorOf(series, number) {
  return series[number].others ? color("others") : color("series").split(" ")[number];
}

/** Stripes over the colour: TIME_WAIT. */
function striped(fill) {
  const size = Math.round(8 * devicePixelRatio);
  const tile = element("canvas", { width: size, height: size });
  const context = tile.getContext("2d");
  context.fillStyle = fill;
  context.fillRect(0, 0, size, size);
  context.strokeStyle = color("hatch");
  context.lineWidth = size / 3;
  for (const shift of [-size, 0, size]) {
    context.beginPath();
    context.moveTo(shift - size / 2, size * 1.5);
    context.lineTo(shift + size * 1.5, -size / 2);
    context.stroke();
  }
  return context.createPattern(tile, "repeat");
}

/** A line from the top where calls were refused, and a mark on it. */
function drawRefused(plot, timeline, times) {
  const { ctx: context, bbox } = plot;
  const mark = 4 * devicePixelRatio;
  context.save();
  context.beginPath();
  context.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  context.clip();
  context.fillStyle = context.strokeStyle = color("refused");
  context.lineWidth = devicePixelRatio;
  timeline.refused.forEach((count, at) => {
    if (count === 0) return;
    const x = plot.valToPos(times[at] + timeline.step_seconds / 2, "x", true);
    context.globalAlpha = 0.5;
    context.beginPath();
    context.moveTo(x, bbox.top);
    context.lineTo(x, bbox.top + bbox.height);
    context.stroke();
    context.globalAlpha = 1;
    context.beginPath();
    context.moveTo(x - mark, bbox.top);
    context.lineTo(x + mark, bbox.top);
    context.lineTo(x, bbox.top + 2 * mark);
    context.fill();
  });
  context.restore();
}

/** What uPlot is told to draw. */
function optionsOf({ timeline, series, layers, times, size, onMove }) {
  const stepped = uPlot.paths.stepped({ align: 1 });
  const line = { paths: stepped, points: { show: false }, spanGaps: false };
  const axis = {
    stroke: color("quiet"),
    grid: { stroke: color("line"), width: 1 },
    ticks: { stroke: color("line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  const fills = layers.map(({ number, isTimeWait }) => {
    const fill = colorOf(series, number);
    return isTimeWait ? striped(fill) : fill;
  });
  return {
    ...size,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(1, high) * 1.08] } },
    series: [
      {},
      ...layers.map(({ number }, at) => ({
        ...line,
        stroke: colorOf(series, number),
        width: 1,
        fill: at === 0 ? () => fills[0] : undefined,
      })),
      { ...line, stroke: color("capacity"), width: 2, dash: [8, 5] },
    ],
    bands: layers.slice(1).map((_, at) => ({ series: [at + 2, at + 1], fill: () => fills[at + 1] })),
    axes: [
      { ...axis, values: axisTimes },
      { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
    ],
    cursor: {
      sync: { key: "ports", scales: ["x", null] },
      drag: { x: true, y: false, setScale: true },
      points: { show: false },
      y: false,
    },
    legend: { show: false },
    hooks: { draw: [(plot) => drawRefused(plot, timeline, times)], setCursor: [onMove] },
  };
}

/** Times of day along the axis, with the day where it is another. */
function axisTimes(_, seconds) {
  let day = "";
  return seconds.map((second) => {
    const [date, time] = timeText(second, second % 1 === 0 ? 1 : 0.5).split(" ");
    const isNew = date !== day;
    day = date;
    return isNew ? `${time}\n${date}` : time;
  });
}
