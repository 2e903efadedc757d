/* "Add a row" below tables of tiers, later prices and credits; without it there are two empty rows. */
(() => {
    "use strict";

    const reveal = () => {
        for (const button of document.querySelectorAll(".con-add-row[hidden]")) button.hidden = false;
    };

    document.addEventListener("click", (event) => {
        const button = event.target.closest(".con-add-row");
        if (!button) return;
        const body = button.closest(".con-rows").querySelector("tbody");
        const count = body.rows.length;
        const row = body.rows[count - 1].cloneNode(true);
        for (const input of row.querySelectorAll("input")) {
            input.name = input.name.replace(/-\d+-(\w+)$/, `-${count}-$1`);
            input.setAttribute("aria-label", input.getAttribute("aria-label").replace(/\d+$/, count + 1));
            input.value = "";
        }
        body.append(row);
        row.querySelector("input").focus();
    });

    document.addEventListener("formset:added", reveal);
    document.addEventListener("DOMContentLoaded", reveal);
    reveal();
})();
