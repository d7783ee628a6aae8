// Each picture on its place in the page.

const HEIGHT = 300;
const span = spanOf(report.timelines);

function buildPicture(timeline, figure) {
  const series = seriesOf(timeline);
  const rows = rowsOf(timeline, span);
  const hidden = new Set();
  const isShown = (number) => !hidden.has(number);
  const fullest = timeline.used.indexOf(Math.max(...timeline.used));
  const step = timeline.step_seconds;

  const legend = buildLegend(timeline, series, (number) => {
    if (!hidden.delete(number)) hidden.add(number);
    plot.draw();
  });
  const plot = buildPlot({
    figure,
    label: "used ports over time",
    height: HEIGHT,
    times: rows.map(({ time }) => time),
    start: fullest,
    aside: legend.table,
    rangeText: (from, to) => `${timeText(from, step)} to ${timeText(to, step)}`,
    show(idx) {
      const at = idx == null ? undefined : rows[idx].at;
      if (at === undefined) legend.show(fullest, "At its fullest: ");
      else legend.show(at, "");
    },
    paint(size) {
      const layers = layersOf(series, isShown);
      const capacity = rows.map(({ at }) => (at === undefined ? null : timeline.capacity[at]));
      const data = [rows.map(({ time }) => time), ...stacked(layers, rows), capacity];
      legend.paint(isShown);
      return { options: optionsOf({ timeline, series, layers, size }), data };
    },
    table: () => buildTable(timeline, series),
  });
  return plot;
}

followTheme(
  report.timelines.map((timeline, number) =>
    buildPicture(timeline, document.getElementById(`picture-${number}`)),
  ),
);
