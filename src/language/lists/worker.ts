/** Worker thread: reads and builds one list, hands its tables over, and ends. Failure: the thread's error event. */
import { readFile, stat } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { BudgetExceeded } from "../../config/budget.ts";
import { buildList, kindOfName, type ListLimits } from "./build.ts";

const { path, limits } = workerData as { path: string; limits: ListLimits };
if ((await stat(path)).size > limits.listFileBytes) throw new BudgetExceeded("listFileBytes", limits.listFileBytes);
const list = buildList(await readFile(path), kindOfName(path), limits);
const tables = [list.texts?.bytes, list.texts?.offsets, list.texts?.table, list.ranges?.v4, list.ranges?.v6];
parentPort!.postMessage(
  list,
  tables.flatMap((table) => (table ? [table.buffer as ArrayBuffer] : [])),
);
