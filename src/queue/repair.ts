/**
 * Repair of a damaged queue: what is whole is kept and written anew, the damaged segments are put aside, not deleted.
 * Invariants: runs only while no gateway has the shard open. A message whose "removed" mark was in a damaged range comes
 * back and may be delivered again; one whose body was there is lost and named when any later record speaks of it.
 * Failure: rejects with the file system's error; running it again is safe.
 */
import { join } from "node:path";
import type { DamagedRange } from "./log-reader.ts";
import { openSpool, type SpoolOptions } from "./spool.ts";

export interface RepairReport {
  /** Messages in the queue after the repair. */
  kept: number;
  /** Ids of messages known to be lost. */
  lost: string[];
  /** What was unreadable. */
  ranges: DamagedRange[];
  /** Where the damaged segments are now; "" when nothing was damaged. */
  keptIn: string;
}

export async function repairQueue(options: Omit<SpoolOptions, "salvage">): Promise<RepairReport> {
  const spool = await openSpool({ ...options, salvage: true });
  try {
    const ranges = [...spool.damage];
    const stamp = new Date((options.now ?? Date.now)()).toISOString().replace(/[:.]/g, "-");
    const keptIn = ranges.length === 0 ? "" : join(options.dir, String(options.shard), "damaged", stamp);
    if (keptIn !== "") await spool.rewriteAll(keptIn);
    return { kept: (await spool.count()).total ?? 0, lost: [...spool.lost], ranges, keptIn };
  } finally {
    await spool.close();
  }
}
