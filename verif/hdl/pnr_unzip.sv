// SPDX-License-Identifier: Apache-2.0
// The core behind six pins, for place and route (`make pnr`): every input of the core comes from a
// register of a shift chain and every output goes into one, so that all paths of the core lie between
// registers of the same device.
//
// Interface: in_i is shifted into the inputs. capture_i takes the outputs into their chain, else it
// moves on to out_o.

module pnr_unzip #(
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
    parameter int OPERAND_W = DW + 4,
    parameter int N_MAX = 16,
    parameter int CHANNEL_AXIS = 1,
    parameter int PROJECTOR = 0,
    parameter int ACT_DEPTH = 512,
    parameter int ACT_BANKS = 2,
    parameter int ALPHA_DEPTH = 256,
    parameter int PARAM_DEPTH = 64,
    parameter int POOL_W = 16,
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,
    parameter int OUTSTANDING = 4,
    parameter int TRACE_DEPTH = 64
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic in_i,
    input  logic capture_i,
    output logic out_o,
    output logic irq_o
);

  localparam int InW = 77 + AXI_DATA_W;
  localparam int OutW = 75 + AXI_ADDR_W * 2 + AXI_DATA_W + AXI_DATA_W / 8;

  logic s_axil_awvalid;
  logic [11:0] s_axil_awaddr;
  logic s_axil_wvalid;
  logic [31:0] s_axil_wdata;
  logic [3:0] s_axil_wstrb;
  logic s_axil_bready;
  logic s_axil_arvalid;
  logic [11:0] s_axil_araddr;
  logic s_axil_rready;
  logic m_axi_arready;
  logic m_axi_rvalid;
  logic m_axi_rid;
  logic [AXI_DATA_W-1:0] m_axi_rdata;
  logic [1:0] m_axi_rresp;
  logic m_axi_rlast;
  logic m_axi_awready;
  logic m_axi_wready;
  logic m_axi_bvalid;
  logic m_axi_bid;
  logic [1:0] m_axi_bresp;
  logic s_axil_awready;
  logic s_axil_wready;
  logic s_axil_bvalid;
  logic [1:0] s_axil_bresp;
  logic s_axil_arready;
  logic s_axil_rvalid;
  logic [31:0] s_axil_rdata;
  logic [1:0] s_axil_rresp;
  logic m_axi_arvalid;
  logic m_axi_arid;
  logic [AXI_ADDR_W-1:0] m_axi_araddr;
  logic [7:0] m_axi_arlen;
  logic [2:0] m_axi_arsize;
  logic [1:0] m_axi_arburst;
  logic m_axi_rready;
  logic m_axi_awvalid;
  logic m_axi_awid;
  logic [AXI_ADDR_W-1:0] m_axi_awaddr;
  logic [7:0] m_axi_awlen;
  logic [2:0] m_axi_awsize;
  logic [1:0] m_axi_awburst;
  logic m_axi_wvalid;
  logic [AXI_DATA_W-1:0] m_axi_wdata;
  logic [AXI_DATA_W/8-1:0] m_axi_wstrb;
  logic m_axi_wlast;
  logic m_axi_bready;

  logic rst_nq, irq;
  logic [InW-1:0] in_q;
  logic [OutW-1:0] out, out_q;

  always_ff @(posedge clk_i) begin
    rst_nq <= rst_ni;
    irq_o  <= irq;
    in_q   <= {in_q[InW-2:0], in_i};
    out_q  <= capture_i ? out : {out_q[OutW-2:0], 1'b0};
  end
  assign out_o = out_q[OutW-1];

  assign {
    s_axil_awvalid, s_axil_awaddr, s_axil_wvalid, s_axil_wdata, s_axil_wstrb, s_axil_bready,
    s_axil_arvalid, s_axil_araddr, s_axil_rready, m_axi_arready, m_axi_rvalid, m_axi_rid,
    m_axi_rdata, m_axi_rresp, m_axi_rlast, m_axi_awready, m_axi_wready, m_axi_bvalid, m_axi_bid,
    m_axi_bresp
  } = in_q;
  assign out = {
    s_axil_awready,
    s_axil_wready,
    s_axil_bvalid,
    s_axil_bresp,
    s_axil_arready,
    s_axil_rvalid,
    s_axil_rdata,
    s_axil_rresp,
    m_axi_arvalid,
    m_axi_arid,
    m_axi_araddr,
    m_axi_arlen,
    m_axi_arsize,
    m_axi_arburst,
    m_axi_rready,
    m_axi_awvalid,
    m_axi_awid,
    m_axi_awaddr,
    m_axi_awlen,
    m_axi_awsize,
    m_axi_awburst,
    m_axi_wvalid,
    m_axi_wdata,
    m_axi_wstrb,
    m_axi_wlast,
    m_axi_bready
  };

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
      .OPERAND_W(OPERAND_W),
      .N_MAX(N_MAX),
      .CHANNEL_AXIS(CHANNEL_AXIS),
      .PROJECTOR(PROJECTOR),
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
      .rst_ni(rst_nq),
      .irq_o (irq),
      .s_axil_awvalid,
      .s_axil_awaddr,
      .s_axil_wvalid,
      .s_axil_wdata,
      .s_axil_wstrb,
      .s_axil_bready,
      .s_axil_arvalid,
      .s_axil_araddr,
      .s_axil_rready,
      .m_axi_arready,
      .m_axi_rvalid,
      .m_axi_rid,
      .m_axi_rdata,
      .m_axi_rresp,
      .m_axi_rlast,
      .m_axi_awready,
      .m_axi_wready,
      .m_axi_bvalid,
      .m_axi_bid,
      .m_axi_bresp,
      .s_axil_awready,
      .s_axil_wready,
      .s_axil_bvalid,
      .s_axil_bresp,
      .s_axil_arready,
      .s_axil_rvalid,
      .s_axil_rdata,
      .s_axil_rresp,
      .m_axi_arvalid,
      .m_axi_arid,
      .m_axi_araddr,
      .m_axi_arlen,
      .m_axi_arsize,
      .m_axi_arburst,
      .m_axi_rready,
      .m_axi_awvalid,
      .m_axi_awid,
      .m_axi_awaddr,
      .m_axi_awlen,
      .m_axi_awsize,
      .m_axi_awburst,
      .m_axi_wvalid,
      .m_axi_wdata,
      .m_axi_wstrb,
      .m_axi_wlast,
      .m_axi_bready
  );

endmodule
