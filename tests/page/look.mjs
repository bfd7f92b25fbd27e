// What a person would see of a page, as JSON on standard output. See tests/page/run.
//
// For each page:
//   text        what is on the screen, as the browser would copy it
//   rows        the figures: anchor, label, number, and the records and commands behind it, opened
//   tiles       the figures at the top: name and number
//   steps       the numbers behind the chart, as text
//   bars        how many bars each drawing has, and whether all of them stand inside it
//   requests    what the page asked for beside itself
//   complaints  errors, warnings and violations that the console has
//   broken      links that lead to no element
//   wide        elements that are wider than the window, on a desktop and on a phone
//   dim         text whose contrast is below 4.5, or below 3 where it is large, in either scheme
//   colours     of the page and its text, in either scheme
//   paper       pages and links of the PDF, and whether what is closed on the screen is printed
//   invalid     what the validator says about the HTML

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const require = createRequire(process.env.MODULES + "/");
const puppeteer = require("puppeteer-core");
const { HtmlValidate } = require("html-validate");

const DESKTOP = { width: 1200, height: 960 };
const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

const validator = new HtmlValidate({
    extends: ["html-validate:recommended", "html-validate:document"],
    // The page is written without white space between its elements.
    rules: { "no-trailing-whitespace": "off" },
});

async function invalid(path) {
    const report = await validator.validateString(readFileSync(path, "utf8"), path);
    const messages = report.results.flatMap((result) => result.messages);
    return messages.map(({ ruleId, message, selector }) => `${ruleId}: ${message} (${selector})`);
}

// Everything below runs in the page.

const seen = () => {
    const text = (element) => element.innerText.trim();
    const all = (selector, within = document) => [...within.querySelectorAll(selector)];
    const closed = document.body.innerText;
    all("details").forEach((details) => { details.open = true; });
    return {
        text: closed,
        opened: document.body.innerText,
        title: document.title,
        rows: all("details.row").map((row) => ({
            anchor: row.id,
            label: text(row.querySelector(".label")),
            count: text(row.querySelector(".count")),
            ids: all("code.id", row).map(text),
            commands: all(".command code", row).map(text),
        })),
        tiles: all(".tiles a").map((tile) => text(tile).split("\n")),
        steps: all(".days li").map(text),
        bars: all("svg.panel").map((panel) => {
            const frame = panel.getBoundingClientRect();
            const inside = ({ left, right, top, bottom, width, height }) =>
                width > 0 && height > 0 && left >= frame.left && right <= frame.right + 0.5 &&
                top >= frame.top - 0.5 && bottom <= frame.bottom + 0.5;
            const rects = all("rect", panel).map((rect) => rect.getBoundingClientRect());
            return { links: all("a", panel).length, inside: rects.every(inside) };
        }),
        broken: all("a[href]").map((link) => link.getAttribute("href"))
            .filter((href) => !href.startsWith("#") || document.getElementById(href.slice(1)) === null),
        links: all("a[href]").length,
        elements: all("script, iframe, object, embed, img, link, form, input, [style], base").map((e) => e.outerHTML),
    };
};

const wide = () => {
    const most = document.documentElement.clientWidth;
    const found = [...document.body.querySelectorAll("*")]
        .filter((element) => element.getBoundingClientRect().right > most + 0.5)
        .map((element) => `${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}`);
    return document.documentElement.scrollWidth > most ? ["the page itself", ...found] : found;
};

const dim = () => {
    const number = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = number(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
            if (colour[3] !== 0) throw new Error("a colour that shines through");
        }
        throw new Error("no background");
    };
    const contrast = (one, other) => {
        const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
        return (light + 0.05) / (dark + 0.05);
    };
    const found = new Set();
    for (const element of document.body.querySelectorAll("*")) {
        const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (element instanceof SVGElement) {
            // Bars are read beside what is behind them.
            if (element.tagName !== "rect" || element.classList.contains("rail")) continue;
            const around = behind(element.closest("svg").parentElement);
            const ratio = contrast(number(getComputedStyle(element).fill), around);
            if (ratio < 3) found.add(`${element.getAttribute("class")} ${ratio.toFixed(2)}`);
        } else if (own) {
            const style = getComputedStyle(element);
            const size = parseFloat(style.fontSize);
            const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
            const ratio = contrast(number(style.color), behind(element));
            if (ratio < (large ? 3 : 4.5)) {
                const words = element.innerText.slice(0, 40);
                found.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${words}`);
            }
        }
    }
    return [...found];
};

const colours = () => {
    const [page, text] = [document.documentElement, document.body].map((element) => getComputedStyle(element));
    return [page.backgroundColor, text.color];
};

const unprinted = () => {
    const shown = (element) => element.checkVisibility() && element.getBoundingClientRect().height > 0;
    return [...document.querySelectorAll("details.row .command")].filter((command) => !shown(command)).length;
};

// The fragment of a link that is followed must be on the screen, even inside of something that was closed.
const followed = async () => {
    const bar = document.querySelector("svg.panel a");
    if (bar === null) return null;
    document.querySelectorAll("details").forEach((details) => { details.open = false; });
    location.hash = bar.getAttribute("href");
    const shown = () => {
        const { top, height } = document.querySelector(":target").getBoundingClientRect();
        return height > 0 && top >= 0 && top < innerHeight;
    };
    // The page opens it once it hears of the link.
    for (let turns = 0; turns < 1000 && !shown(); turns++) await new Promise((done) => setTimeout(done, 20));
    return shown();
};

async function look(browser, path, picture) {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    const [requests, complaints] = [[], []];
    const url = pathToFileURL(resolve(path)).href;
    page.on("request", (request) => { if (request.url() !== url) requests.push(request.url()); });
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("dialog", (dialog) => { complaints.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
    const scheme = (value) => page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);

    await page.setViewport(DESKTOP);
    await scheme("light");
    await page.goto(url);
    if (picture) await page.screenshot({ path: picture, type: "png" });
    const followedLink = await page.evaluate(followed);
    await page.goto(url);
    const facts = await page.evaluate(seen);
    const light = { dim: await page.evaluate(dim), colours: await page.evaluate(colours) };
    const onDesktop = await page.evaluate(wide);
    await scheme("dark");
    const dark = { dim: await page.evaluate(dim), colours: await page.evaluate(colours) };
    await page.setViewport(PHONE);
    const onPhone = await page.evaluate(wide);

    // A page as it is opened: everything is closed.
    await page.goto(url);
    await page.emulateMediaType("print");
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    const hidden = await page.evaluate(unprinted);
    const margin = { top: "15mm", bottom: "15mm", left: "15mm", right: "15mm" };
    const pdf = Buffer.from(await page.pdf({ format: "A4", margin, timeout: 0 }));
    const objects = pdf.toString("latin1");
    const count = (pattern) => (objects.match(pattern) ?? []).length;
    const paper = { pages: count(/\/Type \/Page\b/g), links: count(/\/Subtype \/Link\b/g), hidden, bytes: pdf.length };
    await page.close();
    return { ...facts, followed: followedLink, requests, complaints, wide: [...onDesktop, ...onPhone],
        dim: [...light.dim, ...dark.dim], colours: { light: light.colours, dark: dark.colours }, paper,
        invalid: await invalid(path) };
}

const paths = process.argv.slice(2);
const picture = paths[0] === "--picture" ? paths.splice(0, 2)[1] : null;
const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM,
    // As root there is no other way. The page is ours, and no other is opened.
    args: [
        "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run",
        "--disable-dev-shm-usage",
    ],
    // tests/page/run ends a browser that hangs.
    timeout: 0,
    protocolTimeout: 0,
});
try {
    const pages = [];
    for (const [index, path] of paths.entries()) pages.push(await look(browser, path, index === 0 ? picture : null));
    process.stdout.write(JSON.stringify(pages));
} finally {
    await browser.close();
}
