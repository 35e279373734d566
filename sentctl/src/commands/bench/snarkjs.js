// Arguments: how often, a .zkey, a .wtns, a verification key. Prints how many milliseconds each proof took, without the
// first one, which compiles. Files are read before.
const snarkjs = require("snarkjs");
const fs = require("fs");
const [repeats, zkey, witness, key] = process.argv.slice(1);
const memory = (path) => ({ type: "mem", data: new Uint8Array(fs.readFileSync(path)) });

(async () => {
  const [zkeyData, witnessData] = [memory(zkey), memory(witness)];
  const times = [];
  let last;
  for (let round = 0; round <= Number(repeats); round++) {
    const started = process.hrtime.bigint();
    last = await snarkjs.groth16.prove(zkeyData, witnessData);
    if (round > 0) times.push(Number(process.hrtime.bigint() - started) / 1e6);
  }
  const verifyingKey = JSON.parse(fs.readFileSync(key, "utf8"));
  if (!(await snarkjs.groth16.verify(verifyingKey, last.publicSignals, last.proof))) {
    throw new Error("the proof that it made does not pass");
  }
  process.stdout.write(JSON.stringify(times));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
