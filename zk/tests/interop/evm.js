// Runs a contract in an EVM. On standard input, in hexadecimal digits: its code for deployment, then what it is called with, a
// line for each call. Prints a line of JSON for each: whether it succeeded, what it gave, and the gas that a transaction takes.
const { createEVM } = require("@ethereumjs/evm");
const { Common, Hardfork, Mainnet } = require("@ethereumjs/common");
const { bytesToHex, createAddressFromString, hexToBytes } = require("@ethereumjs/util");

const LIMIT = 10_000_000n;
// What a transaction costs before anything runs: Ethereum's yellow paper, appendix G, with EIP-2028.
const TRANSACTION = 21_000n;
const intrinsic = (data) => data.reduce((sum, byte) => sum + (byte === 0 ? 4n : 16n), TRANSACTION);

async function main() {
  const [code, ...calls] = require("fs").readFileSync(0, "utf8").trim().split("\n");
  const evm = await createEVM({ common: new Common({ chain: Mainnet, hardfork: Hardfork.Cancun }) });
  const caller = createAddressFromString(`0x${"11".repeat(20)}`);
  const run = async (to, data) => {
    const { execResult, createdAddress } = await evm.runCall({ caller, to, data, gasLimit: LIMIT });
    const gas = execResult.executionGasUsed + intrinsic(data);
    const error = execResult.exceptionError?.error;
    console.log(JSON.stringify({ error, output: bytesToHex(execResult.returnValue), gas: Number(gas) }));
    return createdAddress;
  };
  const contract = await run(undefined, hexToBytes(`0x${code}`));
  for (const data of calls) await run(contract, hexToBytes(`0x${data}`));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
