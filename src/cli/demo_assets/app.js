// Asks for what a row names and shows what became of the request. The content hash in this file's name promises
// that it never changes, so that browsers and larder may keep it for a year.
"use strict";

// A cell of the row, made at its first use.
function cell(row, index) {
  while (row.cells.length <= index) {
    row.insertCell();
  }
  return row.cells[index];
}

async function ask(button) {
  const row = button.closest("tr");
  const began = performance.now();
  button.disabled = true;
  try {
    // Asked for plainly: a fetch that skips the browser's cache would tell larder to skip its own, too.
    const response = await fetch(button.dataset.path);
    await response.arrayBuffer();
    const spent = Math.round(performance.now() - began);
    const entry = performance.getEntriesByName(response.url).at(-1);
    const kept = entry !== undefined && entry.transferSize === 0;
    cell(row, 2).textContent = `${spent} ms`;
    cell(row, 3).textContent = response.headers.get("content-encoding") ?? "none";
    cell(row, 4).textContent = kept
      ? "kept by your browser: larder was not even asked"
      : (response.headers.get("cache-status") ?? "no larder in front");
  } catch (error) {
    cell(row, 4).textContent = `failed: ${error.message}`;
  } finally {
    button.disabled = false;
  }
}

for (const button of document.querySelectorAll("button[data-path]")) {
  button.addEventListener("click", () => ask(button));
}
