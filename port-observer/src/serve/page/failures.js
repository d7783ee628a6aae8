// Calls that failed, the newest first.

/** How many are kept on the page. */
const MOST_FAILURES = 100;

/** Those that are shown, by run and number. */
const shownFailures = new Map();

/** Takes those of an answer. Those of an earlier run stay as they were. */
function showFailures({ run, failures, failed }) {
  const list = document.getElementById("failure-list");
  // The oldest first, so that the newest ends on top.
  for (const failure of failures.toSorted((a, b) => a.number - b.number)) {
    const key = `${run}-${failure.number}`;
    let shown = shownFailures.get(key);
    if (shown === undefined) {
      shown = buildFailure();
      shownFailures.set(key, shown);
      list.prepend(shown.article);
    }
    shown.show(failure);
  }
  for (const [key, { article }] of shownFailures) {
    if (shownFailures.size <= MOST_FAILURES) break;
    article.remove();
    shownFailures.delete(key);
  }
  document.getElementById("none").hidden = shownFailures.size > 0;
  document.getElementById("failed").textContent = failed > 0 ? `${number(failed)} in this run` : "";
}

function buildFailure() {
  const headline = element("h3");
  const facts = element("dl");
  const remedies = element("ol");
  const helps = element("h4", { textContent: "What would have helped" });
  const article = element("article", { className: "failure" }, headline, facts, helps, remedies);
  let last;
  return {
    article,
    show(failure) {
      const text = JSON.stringify(failure);
      if (text === last) return;
      last = text;
      const times = failure.count === 1 ? "once" : `${number(failure.count)} times, last ${clock(failure.time)}`;
      headline.textContent = `${clock(failure.began)} ${failure.who}: ${failure.call} failed ${times}`;
      const fact = (name, ...texts) =>
        element("div", {}, element("dt", { textContent: name }), ...texts.map((text) => element("dd", { textContent: text })));
      facts.replaceChildren(
        fact("error", failure.error),
        fact("where", `${failure.protocol}, network namespace ${namespaceName(failure.netns)}`),
        ...(failure.why ? [fact("why", failure.why)] : []),
        ...(failure.held.length > 0 ? [fact("held by", ...failure.held)] : []),
      );
      helps.hidden = failure.remedies.length === 0;
      remedies.replaceChildren(...failure.remedies.map((text) => element("li", { textContent: text })));
    },
  };
}

/** A time of day. */
function clock(time) {
  return timeText(Date.parse(time) / 1000, 1).split(" ")[1];
}

