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


  // PEs from one group to the next where `groups` groups share T_C PEs: as many as fit, a multiple of
  // `align` (2, or the G weight words that are written together). Only for constants: it divides.
  function automatic int group_pitch(input int t_c, input int groups, input int align);
    group_pitch = t_c / groups / align * align;
  endfunction

  // Row bus of a PE: the number of its group; PEs behind the last group take bus 0.
  function automatic int group_bus(input int t_c, input int groups, input int align, input int pe);
    int pitch, bus;
    pitch = t_c / groups / align * align;
    bus = pitch == 0 ? 0 : pe / pitch;
    group_bus = bus < groups ? bus : 0;
  endfunction

  // PEs at which Q channels of a pixel can begin, one bit each, for up to s groups of PEs.
  function automatic logic [255:0] group_starts(input int t_c, input int s, input int align,
                                                input int q);
    int pitch;
    group_starts = '0;
    for (int g = 1; g <= s; g = g + 1) begin
      pitch = t_c / g / align * align;
      for (int k = 0; k < g; k = k + 1) begin
        for (int c = 0; c < pitch; c = c + q) begin
          group_starts = group_starts | (256'(1) << (k * pitch + c));
        end
      end
    end
  endfunction

  // What the PEs multiply: activations by weights, or by alphas projections along the kernel or the
  // channels.
  localparam logic [1:0] DOMAIN_WEIGHTS = 2'd0;
  localparam logic [1:0] DOMAIN_KERNEL = 2'd1;
  localparam logic [1:0] DOMAIN_CHANNELS = 2'd2;

  // log2(16/n) for n = 1, 2, 4 or 8 codes along the channels.
  function automatic logic [2:0] log2_code_blocks(input logic [3:0] codes);
    log2_code_blocks = codes[3] ? 3'd1 : codes[2] ? 3'd2 : codes == 4'd2 ? 3'd3 : 3'd4;
  endfunction

  // Groups of 16/n channel blocks, the last one perhaps with fewer.
  function automatic logic [11:0] code_blocks(input logic [11:0] blocks, input logic [3:0] codes);
    code_blocks = ((blocks - 12'd1) >> log2_code_blocks(codes)) + 12'd1;
  endfunction

endpackage
