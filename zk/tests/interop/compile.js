// Compiles the Solidity source on standard input; prints the contract's code for deployment.
const solc = require("solc");
const source = require("fs").readFileSync(0, "utf8");
const input = {
  language: "Solidity",
  sources: { "verifier.sol": { content: source } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "cancun",
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const error of output.errors ?? []) console.error(error.formattedMessage);
const contract = output.contracts?.["verifier.sol"]?.["TransitionVerifier"];
if (!contract || (output.errors ?? []).length > 0) process.exit(1);
process.stdout.write(contract.evm.bytecode.object);
