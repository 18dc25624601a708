// The index of a batch: sorts its rows, and keeps what a person thinks of each result.
"use strict";
(() => {
  const rows = [...document.querySelectorAll("#runs tbody tr")];
  const body = document.querySelector("#runs tbody");
  const store = "samreg ratings " + location.pathname;
  const ratings = new Map();
  try { for (const [id, rating] of JSON.parse(localStorage.getItem(store) || "[]")) ratings.set(id, rating); }
  catch { /* Nothing is kept where the browser forbids it; the TSV file holds the ratings all the same. */ }
  const show = () => {
    const counts = { good: 0, bad: 0, unsure: 0 };
    for (const row of rows) {
      const rating = ratings.get(row.dataset.id) || "";
      row.dataset.rating = rating;
      if (rating in counts) counts[rating] += 1;
      for (const input of row.querySelectorAll("input[type=radio]")) input.checked = input.value === rating;
    }
    document.getElementById("counts").textContent =
      `${counts.good} good, ${counts.bad} bad, ${counts.unsure} unsure, of ${rows.length}`;
  };
  const keep = () => {
    try { localStorage.setItem(store, JSON.stringify([...ratings])); } catch { /* as above */ }
    show();
  };
  body.addEventListener("change", (event) => {
    if (event.target.type !== "radio") return;
    ratings.set(event.target.closest("tr").dataset.id, event.target.value);
    keep();
  });
  document.getElementById("save").addEventListener("click", () => {
    const plain = (text) => text.replace(/[\t\r\n]+/g, " ");
    const lines = rows.map((row) => [row.dataset.id, ratings.get(row.dataset.id) || "", row.dataset.verdict].map(plain));
    const text = [["id", "rating", "verdict"], ...lines].map((line) => line.join("\t")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
    link.download = "ratings.tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  document.getElementById("load").addEventListener("change", async (event) => {
    const known = new Set(rows.map((row) => row.dataset.id.replace(/[\t\r\n]+/g, " ")));
    const text = await event.target.files[0].text();
    for (const line of text.split(/\r?\n/).slice(1)) {
      const [id, rating] = line.split("\t");
      if (known.has(id) && ["good", "bad", "unsure"].includes(rating)) ratings.set(id, rating);
    }
    keep();
  });
  document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
    const th = button.parentElement;
    const up = th.getAttribute("aria-sort") !== "ascending";
    document.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.dataset[button.dataset.key] ?? "";
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1; // without a value: always last
      const numbers = !Number.isNaN(Number(x)) && !Number.isNaN(Number(y));
      return (numbers ? x - y : x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    };
    body.append(...[...rows].sort(compare));
  }));
  show();
})();
