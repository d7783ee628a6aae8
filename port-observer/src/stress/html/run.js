// What the page is about.

/** What `stress --json` answers, and samples over time. */
const report = JSON.parse(document.getElementById("report").textContent);
const limit = report.answer.breaking_point;

/** When all pictures end. */
const END = Math.max(...[report.connects, report.searches].map(({ seconds }) => seconds.at(-1) ?? 0));

/** A count. */
function countText(count) {
  return Math.round(count).toLocaleString("en");
}

/** A moment of the run, with more digits of a short one. */
function secondsText(seconds) {
  return `${seconds.toFixed(END < 1 ? 4 : 2)} s`;
}

/** Three or so digits and the unit that fits. */
function durationText(seconds) {
  const units = [
    ["ns", 1e-9],
    ["µs", 1e-6],
    ["ms", 1e-3],
    ["s", 1],
  ];
  const [name, unit] = units.findLast(([, one]) => seconds >= one * 0.9995) ?? units[0];
  return `${Number((seconds / unit).toPrecision(3))} ${name}`;
}
