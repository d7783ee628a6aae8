// The picture itself, drawn by uPlot.

function colorOf(series, number) {
  return series[number].others ? color("others") : color("series").split(" ")[number];
}

/** A fill of tiles of so many pixels, over whose colour `paint` draws. */
function tiled(fill, pixels, paint) {
  const size = Math.round(pixels * devicePixelRatio);
  const tile = element("canvas", { width: size, height: size });
  const context = tile.getContext("2d");
  context.fillStyle = fill;
  context.fillRect(0, 0, size, size);
  paint(context, size);
  return context.createPattern(tile, "repeat");
}

/** Stripes over the colour: TIME_WAIT. */
function striped(fill) {
  return tiled(fill, 8, (context, size) => {
    context.strokeStyle = color("hatch");
    context.lineWidth = size / 3;
    for (const shift of [-size, 0, size]) {
      context.beginPath();
      context.moveTo(shift - size / 2, size * 1.5);
      context.lineTo(shift + size * 1.5, -size / 2);
      context.stroke();
    }
  });
}

/** The stretches of time in which calls were refused. */
function refusedOf(timeline) {
  return timeline.refused.flatMap((count, at) => {
    const began = timeAt(timeline, at);
    return count === 0 ? [] : [[began, began + timeline.step_seconds]];
  });
}

/** What uPlot is told to draw. */
function optionsOf({ timeline, series, layers, size }) {
  const stepped = uPlot.paths.stepped({ align: 1 });
  const line = { paths: stepped, points: { show: false }, spanGaps: false };
  const axis = axisStyle();
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
      { ...axis, space: 80, values: axisTimes },
      { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
    ],
    cursor: {
      sync: { key: "ports", scales: ["x", null] },
      drag: { x: true, y: false, setScale: true },
      points: { show: false },
      y: false,
    },
    legend: { show: false },
    hooks: { draw: [(plot) => drawRefused(plot, refusedOf(timeline))] },
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
