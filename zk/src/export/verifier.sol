// SPDX-License-Identifier: Apache-2.0
// Made by SentientOS. Checks Groth16 proofs of transitions between a machine's snapshots.
// Key: @KEY@ (@ORIGIN@)
pragma solidity ^0.8.20;

contract TransitionVerifier {
    // Orders of BN254's scalar field and of its field of coordinates (EIP-196).
    uint256 private constant R = @R@;
    uint256 private constant Q = @Q@;

    /// Whether the transition is proved. `input`: old state, new state, dirty mask, frozen mask, contract.
    /// Points of G2 have the imaginary part first (EIP-197).
    function verifyProof(
        uint256[2] calldata a,
        uint256[2][2] calldata b,
        uint256[2] calldata c,
        uint256[5] calldata input
    ) external view returns (bool) {
        // Two numbers for one scalar or coordinate would be two proofs of one statement.
        for (uint256 i = 0; i < 5; i++) {
            if (input[i] >= R) return false;
        }
        if (a[0] >= Q || a[1] >= Q) return false;
        uint256[2] memory sum = [uint256(@IC0X@), uint256(@IC0Y@)];
        bool good = true;
@INPUTS@        if (!good) return false;
        // e(-A, B) e(alpha, beta) e(sum, gamma) e(C, delta) = 1
        uint256[24] memory pairs = [
            a[0], a[1] == 0 ? 0 : Q - a[1], b[0][0], b[0][1], b[1][0], b[1][1],
            @ALPHA@, @BETA@,
            sum[0], sum[1], @GAMMA@,
            c[0], c[1], @DELTA@
        ];
        uint256[1] memory result;
        assembly ("memory-safe") {
            good := staticcall(gas(), 8, pairs, 768, result, 32)
        }
        return good && result[0] == 1;
    }

    /// sum + factor * (x, y); false if a precompile refuses.
    function add(uint256[2] memory sum, uint256 x, uint256 y, uint256 factor)
        private
        view
        returns (bool good)
    {
        uint256[3] memory product = [x, y, factor];
        uint256[4] memory terms;
        assembly ("memory-safe") {
            good := staticcall(gas(), 7, product, 96, terms, 64)
        }
        (terms[2], terms[3]) = (sum[0], sum[1]);
        bool added;
        assembly ("memory-safe") {
            added := staticcall(gas(), 6, terms, 128, sum, 64)
        }
        good = good && added;
    }
}
