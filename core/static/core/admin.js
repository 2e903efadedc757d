/* Keyboard, menus, sums of the selection and live progress of the back-office. Everything works without it too. */
(() => {
    "use strict";

    const typing = (element) =>
        element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);

    // --- Rows -------------------------------------------------------------------------------------------
    let current = -1;
    const rows = () => [...document.querySelectorAll("#result_list > tbody")];

    function moveTo(index) {
        const all = rows();
        if (!all.length) return;
        current = Math.max(0, Math.min(index, all.length - 1));
        all.forEach((row, i) => row.classList.toggle("eb-current", i === current));
        all[current].scrollIntoView({ block: "nearest" });
    }

    function save() {
        const button = document.querySelector("[name=_save]") || document.querySelector("main form button.eb-primary");
        if (button) button.click();
        return Boolean(button);
    }

    document.addEventListener("keydown", (event) => {
        if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
            if (save()) event.preventDefault();
            return;
        }
        if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
        const help = document.getElementById("eb-shortcuts");
        if (event.key === "?" && help) {
            event.preventDefault();
            if (help.open) help.close();
            else help.showModal();
            return;
        }
        if (help && help.open) return;
        const row = rows()[current];
        if (event.key === "j") moveTo(current + 1);
        else if (event.key === "k") moveTo(current - 1);
        else if (event.key === "Enter" && row && event.target === document.body) row.querySelector("th a, td a")?.click();
        else if (event.key === "x" && row) row.querySelector("input.action-select")?.click();
    });

    // --- Menus close when one clicks elsewhere or presses Escape ------------------------------------------
    document.addEventListener("click", (event) => {
        document.querySelectorAll("details.eb-menu[open]").forEach((menu) => {
            if (!menu.contains(event.target)) menu.open = false;
        });
    });
    document.addEventListener("keydown", (event) => {
        if (event.key !== "Escape") return;
        document.querySelectorAll("details.eb-menu[open]").forEach((menu) => {
            menu.open = false;
            menu.querySelector("summary").focus();
        });
    });

    // --- The palette: typing goes into its field as soon as that is shown, also on a slow machine ----------
    document.addEventListener("DOMContentLoaded", () => {
        const field = document.getElementById("search-input-command");
        if (!field) return;
        let shown = false;
        // Unfold focuses after 20 ms, which is lost when the next frame, and with it the field, comes later.
        new ResizeObserver(() => {
            const before = shown;
            shown = field.offsetHeight > 0;
            if (shown && !before) field.focus();
        }).observe(field);
    });

    // --- The sum of the selected rows, per currency, exact ------------------------------------------------
    const SCALE = 15;
    function exact(text) {
        const negative = text.startsWith("-");
        const [whole, part = ""] = text.replace("-", "").split(".");
        const units = BigInt(whole + part.padEnd(SCALE, "0").slice(0, SCALE));
        return negative ? -units : units;
    }
    function shown(units, decimals) {
        const negative = units < 0n;
        const digits = (negative ? -units : units).toString().padStart(SCALE + 1, "0");
        const whole = digits.slice(0, -SCALE).replace(/\B(?=(\d{3})+$)/g, ",");
        const part = digits.slice(-SCALE).slice(0, decimals);
        return (negative ? "\u2212" : "") + whole + (decimals ? "." + part : "");
    }
    function sumSelection() {
        const line = document.getElementById("eb-selection");
        if (!line) return;
        const chosen = [...document.querySelectorAll("#result_list input.action-select:checked")];
        const sums = new Map();
        chosen.forEach((box) => {
            const cell = box.closest("tr").querySelector(".eb-num[data-currency]:not([data-currency=''])");
            if (!cell) return;
            const { amount, currency } = cell.dataset;
            const decimals = (cell.firstChild.textContent.split(".")[1] || "").trim().length;
            const so_far = sums.get(currency) || { units: 0n, decimals: 0 };
            sums.set(currency, { units: so_far.units + exact(amount), decimals: Math.max(so_far.decimals, decimals) });
        });
        line.hidden = chosen.length === 0;
        const words = [...sums].sort().map(([currency, sum]) => `${shown(sum.units, sum.decimals)} ${currency}`);
        line.textContent = `${chosen.length} selected${words.length ? ": " + words.join(" and ") : ""}`;
    }
    document.addEventListener("change", (event) => {
        if (event.target.matches("#result_list input[type=checkbox]")) setTimeout(sumSelection);
    });

    // --- Demo sign-ins fill in the form -------------------------------------------------------------------
    document.addEventListener("click", (event) => {
        const demo = event.target.closest("[data-demo-user]");
        if (!demo) return;
        document.getElementById("id_username").value = demo.dataset.demoUser;
        document.getElementById("id_password").value = demo.dataset.demoPassword;
        document.querySelector("#login-form [type=submit]").focus();
    });

    // --- Fields that look their choices up: select2 names neither its box nor its search --------------------
    function nameOf(select) {
        const label = select.labels && select.labels[0];
        if (label) {
            label.id = label.id || `${select.id}_label`;
            return { id: label.id, text: label.textContent.trim() };
        }
        const cell = select.closest("td");
        const head = cell && cell.closest("table").querySelectorAll("thead th")[cell.cellIndex];
        return { id: "", text: select.getAttribute("aria-label") || (head ? head.textContent.trim() : "") };
    }
    function nameBoxes() {
        document.querySelectorAll("select.select2-hidden-accessible").forEach((select) => {
            const box = select.nextElementSibling && select.nextElementSibling.querySelector(".select2-selection");
            const name = nameOf(select);
            if (!box || !name.text || box.dataset.named) return;
            box.dataset.named = "yes";
            const chosen = box.getAttribute("aria-labelledby");
            if (name.id && chosen) box.setAttribute("aria-labelledby", `${name.id} ${chosen}`);
            else {
                box.removeAttribute("aria-labelledby");
                box.setAttribute("aria-label", name.text);
            }
            box.querySelectorAll(".select2-search__field").forEach((field) => field.setAttribute("aria-label", name.text));
            // It only shows what is chosen; the box around it is the control.
            const text = box.querySelector(".select2-selection__rendered[role=textbox]");
            if (text) ["role", "aria-readonly"].forEach((name) => text.removeAttribute(name));
        });
    }
    function nameSearch(event) {
        const open = document.querySelector(".select2-container--open .select2-dropdown");
        if (!open) return;
        const name = nameOf(event.target).text || "Choices";
        open.querySelectorAll(".select2-search__field, .select2-results__options").forEach((part) =>
            part.setAttribute("aria-label", name));
    }
    document.addEventListener("DOMContentLoaded", () => {
        nameBoxes();
        // Boxes come when their scripts are ready, and with each row that is added.
        const fresh = (node) => node.nodeType === Node.ELEMENT_NODE && node.matches(".select2-container");
        new MutationObserver((changes) => {
            if (changes.some((change) => [...change.addedNodes].some(fresh))) setTimeout(nameBoxes);
        }).observe(document.body, { childList: true, subtree: true });
        const jquery = window.django && window.django.jQuery;
        if (jquery) jquery(document).on("select2:open", nameSearch);
    });

    // --- Live progress ------------------------------------------------------------------------------------
    async function follow(box) {
        const bar = box.querySelector("progress");
        const words = box.querySelector("[data-words]");
        const answer = await fetch(box.dataset.url, { headers: { Accept: "application/json" } }).catch(() => null);
        if (answer && answer.ok) {
            const state = await answer.json();
            box.dataset.state = state.state;
            if (state.percent === null) bar.removeAttribute("value");
            else bar.value = state.percent;
            if (words.textContent !== state.words) words.textContent = state.words;
            if (state.state === "done" || state.state === "failed") {
                // Ended before the first look: the page is as old as that. Not at once, as the end may be an earlier job's.
                const pause = box.dataset.seen === "running" ? 0 : 1500;
                if (box.dataset.then) setTimeout(() => window.location.assign(box.dataset.then), pause);
                return;
            }
            box.dataset.seen = "running";
        }
        setTimeout(() => follow(box), 1000);
    }

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll("[data-progress]").forEach(follow);
        const scroller = document.querySelector("#nav-sidebar-apps .active");
        if (scroller) scroller.setAttribute("aria-current", "page");
    });
})();
