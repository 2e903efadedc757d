/* What the pages of approvals gain by scripts; everything works without. */
(() => {
    "use strict";

    // --- The inbox looks for what is new, unless nobody looks at it ---------------------------------------
    const EVERY = 15000;
    let last = Date.now();
    function look() {
        const live = document.querySelector("[data-live]");
        if (!live || document.hidden) return;
        last = Date.now();
        live.dispatchEvent(new CustomEvent("refresh"));
    }
    if (document.querySelector("[data-live]")) {
        setInterval(look, EVERY);
        document.addEventListener("visibilitychange", () => {
            if (Date.now() - last > EVERY) look();
        });
        // What is one more or one less here is so in the navigation too.
        document.addEventListener("htmx:afterSettle", () => {
            const here = document.querySelector("#list-waiting strong");
            const there = document.querySelector(".eb-nav a[aria-current] .eb-count");
            if (here && there) there.firstChild.textContent = here.textContent;
            tell();
        });
    }

    // --- How many are chosen ------------------------------------------------------------------------------
    function tell() {
        const place = document.getElementById("chosen");
        if (!place) return;
        const count = document.querySelectorAll(".ap-choose input:checked").length;
        const text = count ? `${count} chosen` : "";
        if (place.textContent !== text) place.textContent = text;
    }
    document.addEventListener("change", (event) => {
        if (event.target.closest(".ap-choose")) tell();
    });
    document.addEventListener("click", (event) => {
        if (!event.target.closest("#choose-all")) return;
        event.preventDefault();
        document.querySelectorAll(".ap-choose input").forEach((box) => (box.checked = true));
        tell();
    });
    tell();

    // --- A long list of choices can be searched -----------------------------------------------------------
    const LONG = 8;
    function searchable(select) {
        const all = [...select.children].map((node) => node.cloneNode(true));
        const find = document.createElement("input");
        Object.assign(find, { type: "search", className: "ap-find", placeholder: select.dataset.search });
        find.autocomplete = "off";
        find.setAttribute("aria-label", select.dataset.search);
        find.setAttribute("aria-controls", select.id);
        const said = document.createElement("p");
        said.className = "eb-help";
        said.setAttribute("role", "status");
        select.before(find);
        select.after(said);

        function narrow() {
            const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
            const chosen = new Set([...select.selectedOptions].map((option) => option.value));
            let found = [];
            const fits = (option, group) => {
                const text = `${group} ${option.label}`.toLowerCase();
                const hit = option.value !== "" && words.every((word) => text.includes(word));
                if (hit) found.push(option.value);
                return hit || option.value === "" || chosen.has(option.value);
            };
            const kept = all.flatMap((node) => {
                if (node.tagName !== "OPTGROUP") return fits(node, "") ? [node.cloneNode(true)] : [];
                const options = [...node.children].filter((option) => fits(option, node.label));
                if (!options.length) return [];
                const group = node.cloneNode(false);
                group.append(...options.map((option) => option.cloneNode(true)));
                return [group];
            });
            select.replaceChildren(...kept);
            for (const option of select.options) option.selected = chosen.has(option.value);
            if (!words.length) found = [];
            said.textContent = words.length ? (found.length ? `${found.length} found` : "Nothing found") : "";
            if (found.length === 1 && !select.multiple && !chosen.has(found[0])) {
                select.value = found[0];
                select.dispatchEvent(new Event("change", { bubbles: true }));
            }
        }
        // What is typed here is no part of the form: it neither previews nor sends it.
        find.addEventListener("input", (event) => {
            event.stopPropagation();
            narrow();
        });
        find.addEventListener("change", (event) => event.stopPropagation());
        find.addEventListener("keydown", (event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            select.focus();
        });
    }
    document.querySelectorAll("select[data-search]").forEach((select) => {
        if (select.options.length > LONG) searchable(select);
    });
})();
