// SPDX-License-Identifier: Apache-2.0
// The core with a memory: its registers and the memory's settings are the ports of the testbench.

module tb_unzip #(
    parameter int T_P = 8,
    parameter int T_C = 8,
    parameter int T_R = 16,
    parameter int S = 1,
    parameter int J = 2,
    parameter int G = 1,
    parameter int D = 9,
    parameter int Q = 4,
    parameter int DW = 8,
    parameter int PAIR = 1,
    parameter int N_MAX = 16,
    parameter int ACT_DEPTH = 512,
    parameter int ACT_BANKS = 2,
    parameter int ALPHA_DEPTH = 256,
    parameter int PARAM_DEPTH = 64,
    parameter int POOL_W = 16,
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,
    parameter int OUTSTANDING = 4,
    parameter int TRACE_DEPTH = 64,
    parameter int MEM_BYTES = 1 << 23
) (
    input logic clk_i,
    input logic rst_ni,

    output logic irq_o,

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

    input  logic [15:0] memory_rate_i,
    input  logic [15:0] memory_latency_i,
    input  logic [ 7:0] memory_stall_i,
    input  logic [31:0] memory_seed_i,
    input  logic        memory_load_i,
    input  logic        memory_dump_i,
    input  logic [31:0] memory_dump_first_i,
    input  logic [31:0] memory_dump_last_i,
    output logic [63:0] memory_bytes_read_o,
    output logic [63:0] memory_bytes_written_o
);

  logic arvalid, arready, arid, rvalid, rready, rid, rlast, awvalid, awready, awid;
  logic wvalid, wready, wlast, bvalid, bready, bid;
  logic [AXI_ADDR_W-1:0] araddr, awaddr;
  logic [7:0] arlen, awlen;
  logic [2:0] arsize, awsize;
  logic [1:0] arburst, awburst, rresp, bresp;
  logic [AXI_DATA_W-1:0] rdata, wdata;
  logic [AXI_DATA_W/8-1:0] wstrb;

  unzip #(
      .T_P(T_P),
      .T_C(T_C),
      .T_R(T_R),
      .S(S),
      .J(J),
      .G(G),
      .D(D),
      .Q(Q),
      .DW(DW),
      .PAIR(PAIR),
      .N_MAX(N_MAX),
      .ACT_DEPTH(ACT_DEPTH),
      .ACT_BANKS(ACT_BANKS),
      .ALPHA_DEPTH(ALPHA_DEPTH),
      .PARAM_DEPTH(PARAM_DEPTH),
      .POOL_W(POOL_W),
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN(BURST_LEN),
      .OUTSTANDING(OUTSTANDING),
      .TRACE_DEPTH(TRACE_DEPTH)
  ) u_unzip (
      .clk_i,
      .rst_ni,
      .irq_o,
      .s_axil_awvalid,
      .s_axil_awready,
      .s_axil_awaddr,
      .s_axil_wvalid,
      .s_axil_wready,
      .s_axil_wdata,
      .s_axil_wstrb,
      .s_axil_bvalid,
      .s_axil_bready,
      .s_axil_bresp,
      .s_axil_arvalid,
      .s_axil_arready,
      .s_axil_araddr,
      .s_axil_rvalid,
      .s_axil_rready,
      .s_axil_rdata,
      .s_axil_rresp,
      .m_axi_arvalid(arvalid),
      .m_axi_arready(arready),
      .m_axi_arid(arid),
      .m_axi_araddr(araddr),
      .m_axi_arlen(arlen),
      .m_axi_arsize(arsize),
      .m_axi_arburst(arburst),
      .m_axi_rvalid(rvalid),
      .m_axi_rready(rready),
      .m_axi_rid(rid),
      .m_axi_rdata(rdata),
      .m_axi_rresp(rresp),
      .m_axi_rlast(rlast),
      .m_axi_awvalid(awvalid),
      .m_axi_awready(awready),
      .m_axi_awid(awid),
      .m_axi_awaddr(awaddr),
      .m_axi_awlen(awlen),
      .m_axi_awsize(awsize),
      .m_axi_awburst(awburst),
      .m_axi_wvalid(wvalid),
      .m_axi_wready(wready),
      .m_axi_wdata(wdata),
      .m_axi_wstrb(wstrb),
      .m_axi_wlast(wlast),
      .m_axi_bvalid(bvalid),
      .m_axi_bready(bready),
      .m_axi_bid(bid),
      .m_axi_bresp(bresp)
  );

  axi_memory #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .MEM_BYTES (MEM_BYTES)
  ) u_memory (
      .clk_i,
      .rst_ni,
      .rate_i(memory_rate_i),
      .latency_i(memory_latency_i),
      .stall_i(memory_stall_i),
      .seed_i(memory_seed_i),
      .load_i(memory_load_i),
      .dump_i(memory_dump_i),
      .dump_first_i(memory_dump_first_i),
      .dump_last_i(memory_dump_last_i),
      .bytes_read_o(memory_bytes_read_o),
      .bytes_written_o(memory_bytes_written_o),
      .arvalid_i(arvalid),
      .arready_o(arready),
      .arid_i(arid),
      .araddr_i(araddr),
      .arlen_i(arlen),
      .rvalid_o(rvalid),
      .rready_i(rready),
      .rid_o(rid),
      .rdata_o(rdata),
      .rresp_o(rresp),
      .rlast_o(rlast),
      .awvalid_i(awvalid),
      .awready_o(awready),
      .awid_i(awid),
      .awaddr_i(awaddr),
      .wvalid_i(wvalid),
      .wready_o(wready),
      .wdata_i(wdata),
      .wstrb_i(wstrb),
      .wlast_i(wlast),
      .bvalid_o(bvalid),
      .bready_i(bready),
      .bid_o(bid),
      .bresp_o(bresp)
  );

  // What the memory takes for granted.
  logic unused;
  assign unused = &{awlen, arsize, awsize, arburst, awburst};

endmodule
