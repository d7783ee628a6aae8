// What the page is about.

/** What the report says, as `report --json` prints it. */
const report = JSON.parse(document.getElementById("report").textContent);
const zone = document.documentElement.dataset.zone;

