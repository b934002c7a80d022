(function () {
  "use strict";
  document.querySelectorAll("table.candidates").forEach(function (table) {
    table.querySelectorAll("button.sort").forEach(function (button) {
      button.addEventListener("click", function () {
        var header = button.closest("th");
        var key = button.dataset.key;
        var down = header.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        var bodies = Array.prototype.slice.call(table.tBodies);
        bodies.sort(function (one, other) {
          var a = one.getAttribute("data-" + key), b = other.getAttribute("data-" + key);
          if (a === "" || b === "") { return (a === "") - (b === ""); }
          var order = button.dataset.kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : Number(a) - Number(b);
          return down ? -order : order;
        });
        bodies.forEach(function (body) { table.appendChild(body); });
      });
    });
  });
})();
