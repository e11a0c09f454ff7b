// Holds every import of the project against the tables of ARCHITECTURE.md: which room may import which, and the one door
// of each library. The page is the source: a new room or library is written there first.

import { existsSync, globSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const PAGE = readFileSync(join(ROOT, "ARCHITECTURE.md"), "utf8");
const FILES = globSync("{core,operator,router,gateway,canary,standalone}/**/*.ts", { cwd: ROOT });
const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)|(?:^|\n)import\s+"([^"]+)"/g;

/** Rows of the table whose first heading is given: the backticked words of each cell. */
function table(firstHeading: string): string[][][] {
  const lines = PAGE.slice(PAGE.indexOf(`| ${firstHeading} |`)).split("\n");
  const rows: string[][][] = [];
  for (const line of lines.slice(2)) {
    if (!line.startsWith("|")) break;
    const cells = line.split("|").slice(1, -1);
    rows.push(cells.map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word)));
  }
  return rows;
}

const ROOMS = new Map(table("room").map(([room = [], mayImport = []]) => [room[0] ?? "", mayImport]));
const DOORS = new Map(table("library").map(([library = [], doors = []]) => [library[0] ?? "", doors]));

function roomOf(path: string): string | undefined {
  return [...ROOMS.keys()].find((room) => path.startsWith(`${room}/`));
}

/** What a file imports: paths from the root of the project, or the names of packages. */
function importsOf(file: string): { paths: string[]; packages: string[] } {
  const paths: string[] = [];
  const packages: string[] = [];
  for (const match of readFileSync(join(ROOT, file), "utf8").matchAll(IMPORT)) {
    const name = match[1] ?? match[2] ?? match[3] ?? "";
    if (name.startsWith(".")) paths.push(normalize(join(dirname(file), name)));
    else if (name.startsWith("#core/")) paths.push(name.replace("#core/", "core/"));
    else if (name.startsWith("#proto/")) paths.push(name.replace("#proto/", "proto/gen/"));
    else if (!name.startsWith("node:") && !builtinModules.includes(name)) {
      packages.push(
        name
          .split("/")
          .slice(0, name.startsWith("@") ? 2 : 1)
          .join("/"),
      );
    }
  }
  return { paths, packages };
}

test("the tables are read, and the files are found", () => {
  expect([...ROOMS.keys()]).toEqual(expect.arrayContaining(["core/domain", "operator", "router", "gateway"]));
  expect(DOORS.size).toBeGreaterThan(5);
  expect(FILES.length).toBeGreaterThan(100);
});

test("every file lives in a room of the table", () => {
  expect(FILES.filter((file) => roomOf(file) === undefined)).toEqual([]);
});

test("a room imports only the rooms that the table allows it", () => {
  const wrong: string[] = [];
  for (const file of FILES) {
    const room = roomOf(file) ?? "";
    for (const path of importsOf(file).paths) {
      const target = roomOf(path);
      if (target !== undefined && target !== room && !ROOMS.get(room)?.includes(target))
        wrong.push(`${file} imports ${path}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("a library is imported only at its doors", () => {
  const wrong: string[] = [];
  for (const file of FILES) {
    for (const name of importsOf(file).packages) {
      const doors = DOORS.get(name);
      if (doors === undefined) wrong.push(`${file} imports ${name}, which the table does not name`);
      else if (!doors.some((door) => file === door || file.startsWith(`${door}/`)))
        wrong.push(`${file} imports ${name}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("every dependency has a door, and every door's library is a dependency", () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  expect([...DOORS.keys()].toSorted()).toEqual(Object.keys(dependencies).toSorted());
});

test("every file that the page names is there", () => {
  const named = [...PAGE.matchAll(/`([\w-]+\/[\w/.-]+\.(?:ts|yaml|md))`/g)].map(([, path = ""]) => path);
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});
