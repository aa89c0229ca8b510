/**
 * The few file operations the queue needs, behind one small interface, so that tests can make each of them fail.
 * Invariants: `write` writes all or rejects; `sync` is fdatasync; `syncFolder` makes names in a folder durable.
 * Failure: the system's error (with `code`, e.g. ENOSPC, EIO) is passed on unchanged.
 */
import * as fs from "node:fs";
import { promisify } from "node:util";

export interface FileLayer {
  /** "create" fails when the file exists. Answers a file descriptor. */
  open(path: string, mode: "create" | "read"): Promise<number>;
  write(fd: number, data: Uint8Array, position: number): Promise<void>;
  /** Octets read; fewer than `into.length` only at the end of the file. */
  read(fd: number, into: Uint8Array, position: number): Promise<number>;
  size(fd: number): Promise<number>;
  sync(fd: number): Promise<void>;
  close(fd: number): Promise<void>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  list(folder: string): Promise<string[]>;
  makeFolder(folder: string): Promise<void>;
  syncFolder(folder: string): Promise<void>;
}

const open = promisify(fs.open);
const write = promisify(fs.write);
const read = promisify(fs.read);
const fdatasync = promisify(fs.fdatasync);
const fsync = promisify(fs.fsync);
const fstat = promisify(fs.fstat);
const close = promisify(fs.close);

/** The real file system. */
export const diskFiles: FileLayer = {
  open: (path, mode) => open(path, mode === "create" ? "wx+" : "r", 0o600),
  async write(fd, data, position) {
    let done = 0;
    while (done < data.length) {
      done += (await write(fd, data, done, data.length - done, position + done)).bytesWritten;
    }
  },
  async read(fd, into, position) {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await read(fd, into, done, into.length - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  },
  size: async (fd) => (await fstat(fd)).size,
  sync: fdatasync,
  close,
  unlink: fs.promises.unlink,
  rename: fs.promises.rename,
  list: (folder) => fs.promises.readdir(folder),
  async makeFolder(folder) {
    await fs.promises.mkdir(folder, { recursive: true, mode: 0o700 });
  },
  async syncFolder(folder) {
    const fd = await open(folder, "r");
    try {
      await fsync(fd);
    } finally {
      await close(fd);
    }
  },
};
