// SPDX-License-Identifier: Apache-2.0
// Constants and functions that are not generated from regs/.
package unzip_pkg;

  // One step of the 32-bit FNV-1a hash, a word at a time: the build id hashes the build's parameters.
  function automatic logic [31:0] fnv1a(input logic [31:0] hash, input logic [31:0] word);
    fnv1a = (hash ^ word) * 32'h01000193;
  endfunction

  localparam logic [31:0] FNV1A_START = 32'h811c9dc5;

  // Entry of column x in a row of a tensor, in each of its banks: the banks take 2^shift neighbouring
  // columns in turn.
  function automatic logic [15:0] act_column(input logic [13:0] x, input logic [1:0] shift,
                                             input int log2_banks);
    act_column = {
      2'b00, (((x >> shift) >> log2_banks) << shift) | (x & ((14'd1 << shift) - 14'd1))
    };
  endfunction

endpackage
