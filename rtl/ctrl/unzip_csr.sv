// SPDX-License-Identifier: Apache-2.0
// Control and status registers behind an AXI4-Lite port. regs/unzip.rdl is the map and the reference.
//
// Interface: 32-bit data, byte strobes honoured. An address without a register reads 0 and answers
// SLVERR; a write to a read-only register is ignored. The windows cannot be written while the lock is
// set. The interrupt is a level: an enabled bit of IRQ_STATE is set.
// Throughput: one write in three cycles, one read in three.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_csr #(
    parameter int AXI_ADDR_W = 40,
    parameter int T_P = 8,
    parameter int T_C = 8,
    parameter int T_R = 16,
    parameter int S = 1,
    parameter int J = 2,
    parameter int G = 1,
    parameter int D = 9,
    parameter int Q = 4,
    parameter int DW = 8,
    parameter int ACT_DEPTH = 512,
    parameter int ACT_BANKS = 2,
    parameter int ALPHA_DEPTH = 256,
    parameter int PARAM_DEPTH = 64,
    parameter int TRACE_DEPTH = 64,
    localparam int INDEX_W = $clog2(TRACE_DEPTH)
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic        s_axil_awvalid,
    output logic        s_axil_awready,
    input  logic [11:0] s_axil_awaddr,
    input  logic        s_axil_wvalid,
    output logic        s_axil_wready,
    input  logic [31:0] s_axil_wdata,
    input  logic [ 3:0] s_axil_wstrb,
    output logic        s_axil_bvalid,
    input  logic        s_axil_bready,
    output logic [ 1:0] s_axil_bresp,
    input  logic        s_axil_arvalid,
    output logic        s_axil_arready,
    input  logic [11:0] s_axil_araddr,
    output logic        s_axil_rvalid,
    input  logic        s_axil_rready,
    output logic [31:0] s_axil_rdata,
    output logic [ 1:0] s_axil_rresp,

    output logic irq_o,

    output logic                  start_o,        // pulse
    output logic                  soft_reset_o,   // pulse
    input  logic                  busy_i,
    input  logic                  error_i,
    input  logic                  resetting_i,
    input  logic                  done_i,         // pulse
    input  logic                  failed_i,       // pulse
    input  logic [           7:0] error_code_i,
    input  logic [           2:0] error_stage_i,
    input  logic [AXI_ADDR_W-1:0] error_addr_i,

    output logic [5*AXI_ADDR_W-1:0] bases_o,  // program lowest, weight, input, output, scratch
    output logic [AXI_ADDR_W-1:0] read_first_o,
    output logic [AXI_ADDR_W-1:0] read_last_o,
    output logic [AXI_ADDR_W-1:0] write_first_o,
    output logic [AXI_ADDR_W-1:0] write_last_o,
    output logic [31:0] watchdog_o,

    input  logic [       31:0] build_id_i,
    input  logic [   9*64-1:0] counters_i,     // in the order of unzip_counters
    input  logic [       31:0] trace_count_i,
    output logic [INDEX_W-1:0] trace_index_o,
    input  logic [   8*32-1:0] trace_data_i
);

  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_C
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_J
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ALPHA_DEPTH
  `UNZIP_LIMIT_PARAM_DEPTH
  `UNZIP_LIMIT_TRACE_DEPTH

  localparam int CapArray = (T_P << unzip_csr_pkg::CAP_ARRAY_T_P_LSB) |
      (T_C << unzip_csr_pkg::CAP_ARRAY_T_C_LSB) | (DW << unzip_csr_pkg::CAP_ARRAY_DW_LSB);
  localparam int CapTile = (T_R << unzip_csr_pkg::CAP_TILE_T_R_LSB) |
      (D << unzip_csr_pkg::CAP_TILE_D_LSB) | (Q << unzip_csr_pkg::CAP_TILE_Q_LSB);
  localparam int CapWgen = (J << unzip_csr_pkg::CAP_WGEN_J_LSB) |
      (G << unzip_csr_pkg::CAP_WGEN_G_LSB) | (S << unzip_csr_pkg::CAP_WGEN_S_LSB) |
      (ACT_BANKS << unzip_csr_pkg::CAP_WGEN_ACT_BANKS_LSB);
  localparam int Version =
      (unzip_csr_pkg::VERSION_MAJOR_RESET << unzip_csr_pkg::VERSION_MAJOR_LSB) |
      (unzip_csr_pkg::VERSION_MINOR_RESET << unzip_csr_pkg::VERSION_MINOR_LSB);

  // Address registers in the order of `address`, counters in the order of `counters_i`.
  localparam int Addresses = 9;
  localparam logic [9*12-1:0] AddressOffset = {
    12'(unzip_csr_pkg::WRITE_WINDOW_LAST_LO_OFFSET),
    12'(unzip_csr_pkg::WRITE_WINDOW_FIRST_LO_OFFSET),
    12'(unzip_csr_pkg::READ_WINDOW_LAST_LO_OFFSET),
    12'(unzip_csr_pkg::READ_WINDOW_FIRST_LO_OFFSET),
    12'(unzip_csr_pkg::SCRATCH_BASE_LO_OFFSET),
    12'(unzip_csr_pkg::OUTPUT_BASE_LO_OFFSET),
    12'(unzip_csr_pkg::INPUT_BASE_LO_OFFSET),
    12'(unzip_csr_pkg::WEIGHT_BASE_LO_OFFSET),
    12'(unzip_csr_pkg::PROGRAM_BASE_LO_OFFSET)
  };
  localparam int Windows = 4;  // the upper four address registers
  localparam int Counters = 9;
  localparam logic [9*12-1:0] CounterOffset = {
    12'(unzip_csr_pkg::BYTES_WRITTEN_LO_OFFSET),
    12'(unzip_csr_pkg::BYTES_READ_LO_OFFSET),
    12'(unzip_csr_pkg::BANK_CONFLICTS_LO_OFFSET),
    12'(unzip_csr_pkg::WAIT_STORES_LO_OFFSET),
    12'(unzip_csr_pkg::WAIT_POST_LO_OFFSET),
    12'(unzip_csr_pkg::WAIT_LOADS_LO_OFFSET),
    12'(unzip_csr_pkg::WAIT_WEIGHTS_LO_OFFSET),
    12'(unzip_csr_pkg::MAC_ACTIVE_LO_OFFSET),
    12'(unzip_csr_pkg::CYCLES_LO_OFFSET)
  };

  // ---- AXI4-Lite -----------------------------------------------------------------------------------
  logic aw_q, w_q, b_q, ar_q, r_q, write_en, write_known, read_known;
  logic [11:0] waddr_q, raddr, raddr_q;
  logic [31:0] wdata_q, wmask, rdata, rdata_q;
  logic [3:0] wstrb_q;
  logic [1:0] bresp_q, rresp_q;

  assign s_axil_awready = !aw_q;
  assign s_axil_wready = !w_q;
  assign s_axil_bvalid = b_q;
  assign s_axil_bresp = bresp_q;
  assign s_axil_arready = !ar_q && !r_q;
  assign s_axil_rvalid = r_q;
  assign s_axil_rdata = rdata_q;
  assign s_axil_rresp = rresp_q;
  assign write_en = aw_q && w_q && !b_q;
  assign raddr = {s_axil_araddr[11:2], 2'b00};

  for (genvar i = 0; i < 4; i++) begin : g_mask
    assign wmask[i*8+:8] = {8{wstrb_q[i]}};
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_q <= 1'b0;
      w_q  <= 1'b0;
      b_q  <= 1'b0;
      ar_q <= 1'b0;
      r_q  <= 1'b0;
    end else begin
      aw_q <= aw_q ? !write_en : s_axil_awvalid;
      w_q  <= w_q ? !write_en : s_axil_wvalid;
      b_q  <= b_q ? !s_axil_bready : write_en;
      ar_q <= s_axil_arvalid && s_axil_arready;
      r_q  <= r_q ? !s_axil_rready : ar_q;
    end
    if (s_axil_awvalid && s_axil_awready) waddr_q <= {s_axil_awaddr[11:2], 2'b00};
    if (s_axil_wvalid && s_axil_wready) begin
      wdata_q <= s_axil_wdata;
      wstrb_q <= s_axil_wstrb;
    end
    if (write_en) bresp_q <= write_known ? 2'b00 : 2'b10;
    if (s_axil_arvalid && s_axil_arready) raddr_q <= raddr;
    if (ar_q) begin
      rdata_q <= rdata;
      rresp_q <= read_known ? 2'b00 : 2'b10;
    end
  end

  // ---- Address registers ---------------------------------------------------------------------------
  logic [Addresses*64-1:0] address;
  logic lock_q;

  for (genvar a = 0; a < Addresses; a++) begin : g_address
    logic open;
    assign open = a < Addresses - Windows || !lock_q;
    for (genvar h = 0; h < 2; h++) begin : g_half
      localparam int Lsb = a * 64 + h * 32;
      localparam int Bits = h == 0 ? 32 : AXI_ADDR_W - 32;  // the others read 0
      logic [Bits-1:0] half_q;
      always_ff @(posedge clk_i) begin
        if (!rst_ni) begin
          half_q <= '0;
        end else if (write_en && open && waddr_q == AddressOffset[a*12+:12] + 12'(4 * h)) begin
          half_q <= (half_q & ~wmask[0+:Bits]) | (wdata_q[0+:Bits] & wmask[0+:Bits]);
        end
      end
      assign address[Lsb+:32] = 32'(half_q);
    end
  end

  for (genvar b = 0; b < 5; b++) begin : g_base
    assign bases_o[b*AXI_ADDR_W+:AXI_ADDR_W] = address[b*64+:AXI_ADDR_W];
  end
  assign read_first_o  = address[5*64+:AXI_ADDR_W];
  assign read_last_o   = address[6*64+:AXI_ADDR_W];
  assign write_first_o = address[7*64+:AXI_ADDR_W];
  assign write_last_o  = address[8*64+:AXI_ADDR_W];

  // ---- Other registers -----------------------------------------------------------------------------
  logic [1:0] irq_enable_q, irq_state_q, irq_clear;
  logic [31:0] trace_index_q, watchdog_q, wvalue;
  logic done_q;

  assign wvalue = wdata_q & wmask;
  assign irq_clear =
      write_en && waddr_q == 12'(unzip_csr_pkg::IRQ_STATE_OFFSET) ? wvalue[1:0] : 2'b00;
  assign irq_o = (irq_state_q & irq_enable_q) != 2'b00;
  assign trace_index_o = trace_index_q[INDEX_W-1:0];
  assign watchdog_o = watchdog_q;

  always_ff @(posedge clk_i) begin
    start_o <= 1'b0;
    soft_reset_o <= 1'b0;
    if (!rst_ni) begin
      irq_enable_q <= '0;
      irq_state_q <= '0;
      trace_index_q <= '0;
      watchdog_q <= '0;
      lock_q <= 1'b0;
      done_q <= 1'b0;
    end else begin
      irq_state_q <= (irq_state_q & ~irq_clear) | {failed_i, done_i};
      if (done_i) begin
        done_q <= 1'b1;
      end else if (busy_i || error_i || resetting_i) begin
        done_q <= 1'b0;
      end
      if (write_en) begin
        case (waddr_q)
          12'(unzip_csr_pkg::CTRL_OFFSET): begin
            start_o <= wvalue[unzip_csr_pkg::CTRL_START_LSB];
            soft_reset_o <= wvalue[unzip_csr_pkg::CTRL_SOFT_RESET_LSB];
          end
          12'(unzip_csr_pkg::IRQ_ENABLE_OFFSET): if (wstrb_q[0]) irq_enable_q <= wdata_q[1:0];
          12'(unzip_csr_pkg::WINDOW_LOCK_OFFSET): lock_q <= lock_q || wvalue[0];
          12'(unzip_csr_pkg::WATCHDOG_OFFSET): watchdog_q <= (watchdog_q & ~wmask) | wvalue;
          12'(unzip_csr_pkg::TRACE_INDEX_OFFSET):
          trace_index_q <= (trace_index_q & ~wmask) | wvalue;
          default: ;
        endcase
      end
    end
  end

  // ---- Read ----------------------------------------------------------------------------------------
  // Known addresses are the same for reads and writes. Those that are read are decoded when they come.
  logic [31:0] plain;
  logic plain_known;
  logic [Addresses*2-1:0] address_hit, address_whit;
  logic [Counters*2-1:0] counter_hit, counter_whit;
  logic [7:0] trace_hit, trace_whit;

  for (genvar a = 0; a < Addresses * 2; a++) begin : g_address_hit
    localparam logic [11:0] Offset = AddressOffset[(a/2)*12+:12] + 12'(4 * (a % 2));
    assign address_hit[a]  = raddr == Offset;
    assign address_whit[a] = waddr_q == Offset;
  end
  for (genvar c = 0; c < Counters * 2; c++) begin : g_counter_hit
    localparam logic [11:0] Offset = CounterOffset[(c/2)*12+:12] + 12'(4 * (c % 2));
    assign counter_hit[c]  = raddr == Offset;
    assign counter_whit[c] = waddr_q == Offset;
  end
  for (genvar t = 0; t < 8; t++) begin : g_trace_hit
    assign trace_hit[t]  = raddr == 12'(unzip_csr_pkg::TRACE_DATA_OFFSET + 4 * t);
    assign trace_whit[t] = waddr_q == 12'(unzip_csr_pkg::TRACE_DATA_OFFSET + 4 * t);
  end

  logic [63:0] error_addr;
  logic [31:0] error_addr_lo, error_addr_hi, status;
  assign error_addr = 64'(error_addr_i);
  assign error_addr_lo = error_addr[31:0];
  assign error_addr_hi = error_addr[63:32];
  assign status = (32'(busy_i) << unzip_csr_pkg::STATUS_BUSY_LSB) |
      (32'(done_q) << unzip_csr_pkg::STATUS_DONE_LSB) |
      (32'(error_i) << unzip_csr_pkg::STATUS_ERROR_LSB) |
      (32'(resetting_i) << unzip_csr_pkg::STATUS_RESETTING_LSB);

  always_comb begin
    plain = '0;
    plain_known = 1'b1;
    case (raddr_q)
      12'(unzip_csr_pkg::ID_OFFSET): plain = unzip_csr_pkg::ID_VALUE_RESET;
      12'(unzip_csr_pkg::VERSION_OFFSET): plain = Version;
      12'(unzip_csr_pkg::BUILD_ID_OFFSET): plain = build_id_i;
      12'(unzip_csr_pkg::CAP_ARRAY_OFFSET): plain = CapArray;
      12'(unzip_csr_pkg::CAP_TILE_OFFSET): plain = CapTile;
      12'(unzip_csr_pkg::CAP_WGEN_OFFSET): plain = CapWgen;
      12'(unzip_csr_pkg::CAP_ACT_OFFSET): plain = ACT_DEPTH;
      12'(unzip_csr_pkg::CAP_ALPHA_OFFSET): plain = ALPHA_DEPTH;
      12'(unzip_csr_pkg::CAP_PARAM_OFFSET): plain = PARAM_DEPTH;
      12'(unzip_csr_pkg::CTRL_OFFSET): plain = '0;
      12'(unzip_csr_pkg::STATUS_OFFSET): plain = status;
      12'(unzip_csr_pkg::IRQ_ENABLE_OFFSET): plain = 32'(irq_enable_q);
      12'(unzip_csr_pkg::IRQ_STATE_OFFSET): plain = 32'(irq_state_q);
      12'(unzip_csr_pkg::ERROR_CODE_OFFSET):
      plain = (32'(error_code_i) << unzip_csr_pkg::ERROR_CODE_CODE_LSB) |
          (32'(error_stage_i) << unzip_csr_pkg::ERROR_CODE_STAGE_LSB);
      12'(unzip_csr_pkg::ERROR_ADDR_LO_OFFSET): plain = error_addr_lo;
      12'(unzip_csr_pkg::ERROR_ADDR_HI_OFFSET): plain = error_addr_hi;
      12'(unzip_csr_pkg::WINDOW_LOCK_OFFSET): plain = 32'(lock_q);
      12'(unzip_csr_pkg::WATCHDOG_OFFSET): plain = watchdog_q;
      12'(unzip_csr_pkg::TRACE_COUNT_OFFSET): plain = trace_count_i;
      12'(unzip_csr_pkg::TRACE_INDEX_OFFSET): plain = trace_index_q;
      default: plain_known = 1'b0;
    endcase
  end

  logic [Addresses*2-1:0] address_hit_q;
  logic [Counters*2-1:0] counter_hit_q;
  logic [7:0] trace_hit_q;
  always_ff @(posedge clk_i) begin
    if (s_axil_arvalid && s_axil_arready) begin
      address_hit_q <= address_hit;
      counter_hit_q <= counter_hit;
      trace_hit_q   <= trace_hit;
    end
  end

  logic [31:0] addresses_read, counters_read, trace_read;
  always_comb begin
    addresses_read = '0;
    for (int a = 0; a < Addresses * 2; a++) begin
      if (address_hit_q[a]) addresses_read = addresses_read | address[a*32+:32];
    end
    counters_read = '0;
    for (int c = 0; c < Counters * 2; c++) begin
      if (counter_hit_q[c]) counters_read = counters_read | counters_i[c*32+:32];
    end
    trace_read = '0;
    for (int t = 0; t < 8; t++) begin
      if (trace_hit_q[t]) trace_read = trace_read | trace_data_i[t*32+:32];
    end
  end

  assign rdata = plain | addresses_read | counters_read | trace_read;
  assign read_known = plain_known || address_hit_q != '0 || counter_hit_q != '0 ||
      trace_hit_q != '0;

  always_comb begin
    case (waddr_q)
      12'(unzip_csr_pkg::ID_OFFSET), 12'(unzip_csr_pkg::VERSION_OFFSET),
      12'(unzip_csr_pkg::BUILD_ID_OFFSET), 12'(unzip_csr_pkg::CAP_ARRAY_OFFSET),
      12'(unzip_csr_pkg::CAP_TILE_OFFSET), 12'(unzip_csr_pkg::CAP_WGEN_OFFSET),
      12'(unzip_csr_pkg::CAP_ACT_OFFSET), 12'(unzip_csr_pkg::CAP_ALPHA_OFFSET),
      12'(unzip_csr_pkg::CAP_PARAM_OFFSET), 12'(unzip_csr_pkg::CTRL_OFFSET),
      12'(unzip_csr_pkg::STATUS_OFFSET), 12'(unzip_csr_pkg::IRQ_ENABLE_OFFSET),
      12'(unzip_csr_pkg::IRQ_STATE_OFFSET), 12'(unzip_csr_pkg::ERROR_CODE_OFFSET),
      12'(unzip_csr_pkg::ERROR_ADDR_LO_OFFSET), 12'(unzip_csr_pkg::ERROR_ADDR_HI_OFFSET),
      12'(unzip_csr_pkg::WINDOW_LOCK_OFFSET), 12'(unzip_csr_pkg::TRACE_COUNT_OFFSET),
      12'(unzip_csr_pkg::TRACE_INDEX_OFFSET), 12'(unzip_csr_pkg::WATCHDOG_OFFSET):
      write_known = 1'b1;
      default: write_known = address_whit != '0 || counter_whit != '0 || trace_whit != '0;
    endcase
  end

  `UNZIP_ASSERT_STREAM(ReadStable, s_axil_rvalid, s_axil_rready, ({s_axil_rdata, s_axil_rresp}),
                       34, clk_i, rst_ni)
  `UNZIP_ASSERT_STREAM(AnswerStable, s_axil_bvalid, s_axil_bready, s_axil_bresp, 2, clk_i, rst_ni)

endmodule
