// The numbers behind a picture.

/** All of them, a row for each point. */
function buildTable(timeline, series) {
  const heading = (text, properties = {}) =>
    element("th", { scope: "col", ...properties }, element("bdi", { textContent: text }));
  const fixed = ["Time", "Used", "Capacity", "Refused"];
  const names = series.flatMap((one) => [`${nameOf(one)}: in use`, `${nameOf(one)}: TIME_WAIT`]);
  const head = element("tr", {}, ...[...fixed, ...names].map((name) => heading(name)));
  const rows = timesOf(timeline).map((time, at) => {
    const counts = [
      timeline.used[at],
      timeline.capacity[at],
      timeline.refused[at],
      ...series.flatMap((one) => [one.in_use[at], one.time_wait[at]]),
    ];
    return element(
      "tr",
      {},
      element("th", { scope: "row", textContent: timeText(time, timeline.step_seconds) }),
      ...counts.map((count) => element("td", { textContent: count })),
    );
  });
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}
