// The names and, of one moment, the numbers.

/** Builds it. `toggle` is called with the number of a series. */
function buildLegend(timeline, series, toggle) {
  const cells = () => [element("td"), element("td")];
  const caption = element("caption", { ariaLive: "polite" });
  const rows = series.map((one, number) => {
    const swatch = element("span", { className: "swatch" });
    const name = element("bdi", { textContent: nameOf(one) });
    const button = element("button", { type: "button", onclick: () => toggle(number) }, swatch, name);
    const values = cells();
    return {
      swatch,
      button,
      values,
      row: element("tr", {}, element("th", { scope: "row" }, button), ...values),
    };
  });
  const used = element("td", { colSpan: 2 });
  const refused = element("td", { colSpan: 2 });
  const head = element(
    "tr",
    {},
    element("th", { scope: "col", textContent: "Held by" }),
    element("th", { scope: "col", textContent: "in use" }),
    element("th", { scope: "col", textContent: "TIME_WAIT" }),
  );
  const foot = (name, cell) => element("tr", {}, element("th", { scope: "row", textContent: name }), cell);
  const table = element(
    "table",
    { className: "legend" },
    caption,
    element("thead", {}, head),
    element("tbody", {}, ...rows.map(({ row }) => row)),
    element("tfoot", {}, foot("Used", used), foot("Calls refused", refused)),
  );
  return {
    table,
    /** The colours, and what is hidden. */
    paint(isShown) {
      rows.forEach(({ swatch, button }, number) => {
        swatch.style.backgroundColor = colorOf(series, number);
        button.setAttribute("aria-pressed", String(isShown(number)));
      });
    },
    /** The numbers of a point. */
    show(at, label) {
      const step = timeline.step_seconds;
      caption.textContent = `${label}${timeText(timeAt(timeline, at), step)} (fullest moment of ${step} s)`;
      rows.forEach(({ values }, number) => {
        values[0].textContent = series[number].in_use[at].toLocaleString("en");
        values[1].textContent = series[number].time_wait[at].toLocaleString("en");
      });
      const percent = ((timeline.used[at] / Math.max(1, timeline.capacity[at])) * 100).toFixed(1);
      const [count, all] = [timeline.used[at], timeline.capacity[at]].map((n) => n.toLocaleString("en"));
      used.textContent = `${count} of ${all} (${percent}%)`;
      refused.textContent = timeline.refused[at].toLocaleString("en");
      refused.className = timeline.refused[at] > 0 ? "refused" : "";
    },
  };
}
