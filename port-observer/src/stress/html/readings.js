// The numbers of one moment, and those of all.

/** What is said where a number is not known. */
const UNKNOWN = "–";

/** The numbers of one moment, a row for each column. */
function buildReadings(columns) {
  const caption = element("caption", { ariaLive: "polite" });
  const rows = columns.map(({ name }) => {
    const swatch = element("span", { className: "swatch" });
    const value = element("td");
    const head = element("th", { scope: "row" }, swatch, " ", name);
    return { swatch, value, row: element("tr", {}, head, value) };
  });
  const head = element(
    "tr",
    {},
    element("th", { scope: "col", textContent: "Figure" }),
    element("th", { scope: "col", textContent: "Value" }),
  );
  const body = element("tbody", {}, ...rows.map(({ row }) => row));
  return {
    table: element("table", { className: "legend" }, caption, element("thead", {}, head), body),
    /** The colours. */
    paint(colorOf) {
      rows.forEach(({ swatch }, number) => (swatch.style.backgroundColor = colorOf(number)));
    },
    /** The numbers of a sample. */
    show(at, label) {
      caption.textContent = label;
      rows.forEach(({ value }, number) => {
        const { values, text } = columns[number];
        value.textContent = values[at] == null ? UNKNOWN : text(values[at]);
      });
    },
  };
}

/** All numbers, a row for each sample. */
function buildValues(title, seconds, columns) {
  const heading = (text) => element("th", { scope: "col", textContent: text });
  const head = element("tr", {}, heading("Time"), ...columns.map(({ name }) => heading(name)));
  const rows = seconds.map((second, at) => {
    const cells = columns.map(({ values, text }) =>
      element("td", { textContent: values[at] == null ? UNKNOWN : text(values[at]) }),
    );
    return element("tr", {}, element("th", { scope: "row", textContent: secondsText(second) }), ...cells);
  });
  const caption = element("caption", { textContent: title });
  return element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...rows));
}
