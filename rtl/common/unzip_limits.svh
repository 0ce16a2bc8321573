// SPDX-License-Identifier: Apache-2.0
// Limits of the parameters, each in one place; src/unzipfpga/config.py holds the same for the presets.
//
// UNZIP_REQUIRE(NAME, OK, TEXT) stops elaboration unless OK, a constant expression, holds. TEXT is a
// format and its values in parentheses. Not every tool has elaboration tasks, and those of others come
// after the errors about widths that a bad parameter leads to. So each says it where it comes first:
//   - Verilator: $fatal in a constant function
//   - Yosys: the name of a file that is not there
//   - Icarus Verilog: a constant that it cannot evaluate: it prints the format and the values
//   - others: $fatal in a generate block
// UNZIP_LIMIT_<parameter> is the check of that parameter in a module that has it.
`ifndef UNZIP_LIMITS_SVH
`define UNZIP_LIMITS_SVH

`ifdef VERILATOR
`define UNZIP_REQUIRE(NAME, OK, TEXT) \
  function automatic bit limit_``NAME(input bit ok); \
    if (!ok) $fatal(1, "%s", $sformatf TEXT); \
    limit_``NAME = ok; \
  endfunction \
  if (!limit_``NAME(OK)) begin : g_limit_``NAME \
  end
`elsif YOSYS
`define UNZIP_REQUIRE(NAME, OK, TEXT) \
  if (!(OK)) begin : g_limit_``NAME \
    logic mem[2]; \
    initial $readmemh($sformatf TEXT, mem); \
  end
`elsif __ICARUS__
`define UNZIP_REQUIRE(NAME, OK, TEXT) \
  localparam limit_``NAME = (OK) ? 0 : $outside_limits TEXT;
`else
`define UNZIP_REQUIRE(NAME, OK, TEXT) \
  if (!(OK)) begin : g_limit_``NAME \
    $fatal(1, "%s", $sformatf TEXT); \
  end
`endif

// ---- Array ---------------------------------------------------------------------------------------
`define UNZIP_LIMIT_T_P \
  `UNZIP_REQUIRE(T_P, T_P == 8 || T_P == 16 || T_P == 32, ("T_P (%0d) is not 8, 16 or 32.", T_P))
`define UNZIP_LIMIT_T_C \
  `UNZIP_REQUIRE(T_C, T_C >= 2 && T_C <= 256 && T_C % 2 == 0, \
                 ("T_C (%0d) is not an even number from 2 to 256.", T_C))
`define UNZIP_LIMIT_T_R \
  `UNZIP_REQUIRE(T_R, T_R >= 2 && T_R <= 2048, ("T_R (%0d) is outside 2 to 2048.", T_R))
`define UNZIP_LIMIT_S \
  `UNZIP_REQUIRE(S, S == 1 || S == 2 || S == 4, ("S (%0d) is not 1, 2 or 4.", S))
`define UNZIP_LIMIT_D \
  `UNZIP_REQUIRE(D, D >= 2 && D <= 64, ("D (%0d) is outside 2 to 64.", D))
`define UNZIP_LIMIT_DW \
  `UNZIP_REQUIRE(DW, DW == 8 || DW == 16, ("DW (%0d) is neither 8 nor 16.", DW))
`define UNZIP_LIMIT_PAIR \
  `UNZIP_REQUIRE(PAIR, PAIR >= 0 && PAIR <= 2, ("PAIR (%0d) is not 0, 1 or 2.", PAIR)) \
  `UNZIP_REQUIRE(PAIR_DW, PAIR == 0 || DW == 8, ("PAIR (%0d) needs DW = 8; DW is %0d.", PAIR, DW)) \
  `UNZIP_REQUIRE(PAIR_OPERAND_W, PAIR != 2 || OPERAND_W == 12, \
                 ("PAIR (%0d) needs OPERAND_W = 12; OPERAND_W is %0d.", PAIR, OPERAND_W))
`define UNZIP_LIMIT_OPERAND_W \
  `UNZIP_REQUIRE(OPERAND_W, OPERAND_W == DW || OPERAND_W == DW + 4, \
                 ("OPERAND_W (%0d) is neither DW (%0d) nor DW + 4.", OPERAND_W, DW))

// ---- Weights generator ---------------------------------------------------------------------------
`define UNZIP_LIMIT_J \
  `UNZIP_REQUIRE(J, J >= 1 && J <= 64, ("J (%0d) is outside 1 to 64.", J))
`define UNZIP_LIMIT_G \
  `UNZIP_REQUIRE(G, G == 1 || G == 2 || G == 4 || G == 8, ("G (%0d) is not 1, 2, 4 or 8.", G))
`define UNZIP_LIMIT_G_T_C \
  `UNZIP_REQUIRE(G_T_C, T_C % (G > 0 ? G : 1) == 0, \
                 ("T_C (%0d) is not a multiple of G (%0d).", T_C, G))
`define UNZIP_LIMIT_S_T_C \
  `UNZIP_REQUIRE(S_T_C, T_C >= S * (G > 1 ? G : 2), \
                 ("T_C (%0d) is too small for S (%0d) groups of %0d.", T_C, S, G > 1 ? G : 2))
`define UNZIP_LIMIT_N_MAX \
  `UNZIP_REQUIRE(N_MAX, N_MAX >= 1 && N_MAX <= 64, ("N_MAX (%0d) is outside 1 to 64.", N_MAX))
`define UNZIP_LIMIT_CHANNEL_AXIS \
  `UNZIP_REQUIRE(CHANNEL_AXIS, CHANNEL_AXIS == 0 || CHANNEL_AXIS == 1, \
                 ("CHANNEL_AXIS (%0d) is neither 0 nor 1.", CHANNEL_AXIS)) \
  `UNZIP_REQUIRE(CHANNEL_AXIS_J, CHANNEL_AXIS == 0 || J == 1 || J == 2 || J == 4 || J == 8, \
                 ("J (%0d) is not 1, 2, 4 or 8, as CHANNEL_AXIS (%0d) needs it.", J, CHANNEL_AXIS))

// ---- Projector -----------------------------------------------------------------------------------
`define UNZIP_LIMIT_PROJECTOR \
  `UNZIP_REQUIRE(PROJECTOR, PROJECTOR == 0 || PROJECTOR == 1, \
                 ("PROJECTOR (%0d) is neither 0 nor 1.", PROJECTOR))
`define UNZIP_LIMIT_PROJECTOR_OPERAND_W \
  `UNZIP_REQUIRE(PROJECTOR_OPERAND_W, PROJECTOR == 0 || OPERAND_W == DW + 4, \
                 ("PROJECTOR (%0d) needs OPERAND_W of DW + 4; OPERAND_W is %0d.", PROJECTOR, \
                  OPERAND_W))

// ---- Post-processing -----------------------------------------------------------------------------
`define UNZIP_LIMIT_Q_T_P \
  `UNZIP_REQUIRE(Q_T_P, Q >= 1 && (T_P % (Q > 0 ? Q : 1) == 0 || Q == 2 * T_P || Q == 4 * T_P), \
                 ("Q (%0d) is neither a divisor of T_P (%0d) nor 2*T_P or 4*T_P.", Q, T_P))
`define UNZIP_LIMIT_Q_ACT_BANKS \
  `UNZIP_REQUIRE(Q_ACT_BANKS, Q <= ACT_BANKS * T_P, \
                 ("ACT_BANKS (%0d) is too small for Q (%0d): a bank takes T_P (%0d) at a time.", \
                  ACT_BANKS, Q, T_P))
`define UNZIP_LIMIT_Q_T_C \
  `UNZIP_REQUIRE(Q_T_C, T_C % (Q > 0 ? Q : 1) == 0, \
                 ("T_C (%0d) is not a multiple of Q (%0d).", T_C, Q)) \
  `UNZIP_REQUIRE(GROUPS, (T_C + T_P) / (Q > 0 ? Q : 1) <= 255, \
                 ("Q (%0d) is too small: (T_C + T_P)/Q is %0d, at most 255.", Q, \
                  (T_C + T_P) / (Q > 0 ? Q : 1)))
`define UNZIP_LIMIT_POOL_W \
  `UNZIP_REQUIRE(POOL_W, POOL_W >= 2 && POOL_W <= 4095, \
                 ("POOL_W (%0d) is outside 2 to 4095.", POOL_W))

// ---- Memories ------------------------------------------------------------------------------------
`define UNZIP_LIMIT_ACT_DEPTH \
  `UNZIP_REQUIRE(ACT_DEPTH, ACT_DEPTH >= 2 && ACT_DEPTH <= 65536, \
                 ("ACT_DEPTH (%0d) is outside 2 to 65536.", ACT_DEPTH))
`define UNZIP_LIMIT_ACT_BANKS \
  `UNZIP_REQUIRE(ACT_BANKS, ACT_BANKS == 2 || ACT_BANKS == 4 || ACT_BANKS == 8, \
                 ("ACT_BANKS (%0d) is not 2, 4 or 8.", ACT_BANKS))
`define UNZIP_LIMIT_ACT_BANKS_S \
  `UNZIP_REQUIRE(ACT_BANKS_S, ACT_BANKS >= 2 * S, \
                 ("ACT_BANKS (%0d) is less than 2*S; S is %0d.", ACT_BANKS, S))
`define UNZIP_LIMIT_ALPHA_DEPTH \
  `UNZIP_REQUIRE(ALPHA_DEPTH, ALPHA_DEPTH >= 2 && ALPHA_DEPTH <= 65536, \
                 ("ALPHA_DEPTH (%0d) is outside 2 to 65536.", ALPHA_DEPTH))
`define UNZIP_LIMIT_PARAM_DEPTH \
  `UNZIP_REQUIRE(PARAM_DEPTH, PARAM_DEPTH >= 2 && PARAM_DEPTH <= 4096, \
                 ("PARAM_DEPTH (%0d) is outside 2 to 4096.", PARAM_DEPTH))
`define UNZIP_LIMIT_TRACE_DEPTH \
  `UNZIP_REQUIRE(TRACE_DEPTH, TRACE_DEPTH >= 2 && TRACE_DEPTH <= 65536, \
                 ("TRACE_DEPTH (%0d) is outside 2 to 65536.", TRACE_DEPTH))

// ---- Bus -----------------------------------------------------------------------------------------
`define UNZIP_LIMIT_AXI_DATA_W \
  `UNZIP_REQUIRE(AXI_DATA_W, \
                 AXI_DATA_W == 64 || AXI_DATA_W == 128 || AXI_DATA_W == 256 || AXI_DATA_W == 512, \
                 ("AXI_DATA_W (%0d) is not 64, 128, 256 or 512.", AXI_DATA_W))
`define UNZIP_LIMIT_AXI_ADDR_W \
  `UNZIP_REQUIRE(AXI_ADDR_W, AXI_ADDR_W >= 40 && AXI_ADDR_W <= 64, \
                 ("AXI_ADDR_W (%0d) is outside 40 to 64.", AXI_ADDR_W))
`define UNZIP_LIMIT_BURST_LEN \
  `UNZIP_REQUIRE(BURST_LEN, \
                 BURST_LEN >= 1 && BURST_LEN <= 256 && (BURST_LEN & (BURST_LEN - 1)) == 0, \
                 ("BURST_LEN (%0d) is not a power of two from 1 to 256.", BURST_LEN)) \
  `UNZIP_REQUIRE(BURST_BYTES, BURST_LEN * AXI_DATA_W <= 8 * 4096, \
                 ("BURST_LEN (%0d) times AXI_DATA_W (%0d) is %0d bytes, more than 4096.", \
                  BURST_LEN, AXI_DATA_W, BURST_LEN * AXI_DATA_W / 8))
`define UNZIP_LIMIT_OUTSTANDING \
  `UNZIP_REQUIRE(OUTSTANDING, \
                 OUTSTANDING >= 2 && OUTSTANDING <= 64 && (OUTSTANDING & (OUTSTANDING - 1)) == 0, \
                 ("OUTSTANDING (%0d) is not a power of two from 2 to 64.", OUTSTANDING))

// ---- Shared parts, which take any number from a lowest one on, or a power of two --------------------
`define UNZIP_LIMIT_LOWEST(NAME, TEXT, LOWEST) \
  `UNZIP_REQUIRE(NAME, NAME >= LOWEST, ("%s (%0d) is not at least %0d.", TEXT, NAME, LOWEST))
`define UNZIP_LIMIT_RANGE(NAME, TEXT, LOWEST, HIGHEST) \
  `UNZIP_REQUIRE(NAME, NAME >= LOWEST && NAME <= HIGHEST, \
                 ("%s (%0d) is outside %0d to %0d.", TEXT, NAME, LOWEST, HIGHEST))
`define UNZIP_LIMIT_POWER(NAME, TEXT) \
  `UNZIP_REQUIRE(NAME, NAME >= 2 && (NAME & (NAME - 1)) == 0, \
                 ("%s (%0d) is not a power of two of at least 2.", TEXT, NAME))

`endif
