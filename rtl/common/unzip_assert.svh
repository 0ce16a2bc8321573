// SPDX-License-Identifier: Apache-2.0
// One assertion macro, a body per tool. NAME is a label, PROP a Boolean expression that must hold at
// every rising clock edge while RST_N is 1. In synthesis it is empty. Verilator starts inputs at random
// values, clock and reset too: time 0 does not count.
`ifndef UNZIP_ASSERT_SVH
`define UNZIP_ASSERT_SVH

`ifdef VERILATOR
`define UNZIP_ASSERT(NAME, PROP, CLK, RST_N) \
  NAME: assert property (@(posedge CLK) disable iff (!(RST_N) || $time == 0) (PROP)) \
  else $fatal(1, "%m: assertion failed");
`elsif __ICARUS__
`define UNZIP_ASSERT(NAME, PROP, CLK, RST_N) \
  always @(posedge CLK) if ((RST_N) === 1'b1 && (PROP) !== 1'b1) \
    $fatal(1, "%m: assertion NAME failed");
`elsif FORMAL
`define UNZIP_ASSERT(NAME, PROP, CLK, RST_N) \
  always @(posedge CLK) if (RST_N) assert (PROP);
`else
`define UNZIP_ASSERT(NAME, PROP, CLK, RST_N)
`endif

// A stream's payload (WIDTH bits) is stable and its valid stays up until it is taken. WIDTH is given
// because Icarus Verilog 11 miscounts $bits of a vector whose width depends on a parameter.
`define UNZIP_ASSERT_STREAM(NAME, VALID, READY, DATA, WIDTH, CLK, RST_N) \
  logic NAME``_wait_q; \
  logic [(WIDTH)-1:0] NAME``_data_q; \
  always_ff @(posedge CLK) begin \
    NAME``_wait_q <= (RST_N) && (VALID) && !(READY); \
    NAME``_data_q <= (DATA); \
  end \
  `UNZIP_ASSERT(NAME, !NAME``_wait_q || ((VALID) && (DATA) == NAME``_data_q), CLK, RST_N)

`endif
