// Asks for what a row names and shows what became of the request. The content hash in this file's name promises
// that it never changes, so that browsers and larder may keep it for a year.
"use strict";

async function ask(button) {
  const row = button.closest("tr");
  const began = performance.now();
  button.disabled = true;
  try {
    // Past the browser's own cache, so that it is larder that answers. It is told to skip its cache, too, but does
    // not do so for strangers.
    const response = await fetch(button.dataset.path, { cache: "no-store" });
    await response.arrayBuffer();
    const spent = Math.round(performance.now() - began);
    row.cells[2].textContent = `${spent} ms`;
    row.cells[3].textContent = response.headers.get("content-encoding") ?? "none";
    row.cells[4].textContent = response.headers.get("cache-status") ?? "no larder in front";
  } catch (error) {
    row.cells[4].textContent = `failed: ${error.message}`;
  } finally {
    button.disabled = false;
  }
}

for (const button of document.querySelectorAll("button[data-path]")) {
  button.addEventListener("click", () => ask(button));
}
