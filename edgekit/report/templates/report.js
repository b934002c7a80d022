(function () {
  "use strict";
  var plots = [];
  document.querySelectorAll("div.plot").forEach(function (place) {
    var figure = JSON.parse(document.getElementById(place.id + "-data").textContent);
    // Buttons by name: newer plotly releases add one that uploads the chart.
    var options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
    figure.layout.width = undefined;
    Plotly.newPlot(place, figure.data, figure.layout, options);
    plots.push(place);
  });
  // Paper is narrower than the window: draw for it, then go back.
  window.addEventListener("beforeprint", function () {
    plots.forEach(function (place) { Plotly.relayout(place, { width: 690, autosize: false }); });
  });
  window.addEventListener("afterprint", function () {
    plots.forEach(function (place) { Plotly.relayout(place, { width: null, autosize: true }); });
  });
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
